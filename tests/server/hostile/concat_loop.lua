-- A concatenation that takes forever.
-- expect: 500 time

local trap = setmetatable({}, { __concat = function() while true do end end })
return function() return { trap .. "x" } end
