-- A field that takes forever to read.
-- expect: 500 time

local trap = setmetatable({}, { __index = function() while true do end end })
return function() return { trap.field } end
