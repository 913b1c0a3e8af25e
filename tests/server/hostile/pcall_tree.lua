-- Every level catches, and calls two more.
-- expect: 500 time

local function grow() pcall(grow) return grow() end
return function() return grow() end
