-- A comparison that takes forever.
-- expect: 500 time

local meta = { __eq = function() while true do end end }
return function() return { setmetatable({}, meta) == setmetatable({}, meta) } end
