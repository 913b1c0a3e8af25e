-- A table that is called forever.
-- expect: 500 time

local trap = setmetatable({}, { __call = function(self) return self() end })
return function() return trap() end
