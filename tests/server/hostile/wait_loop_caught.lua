-- The same, and refuses to hear of it.
-- expect: 500 time

local md = require "moondial"
return function() while true do pcall(md.sleep, 0.001) end end
