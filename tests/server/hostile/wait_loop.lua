-- Waits forever in slices that are all short.
-- expect: 500 time

local md = require "moondial"
return function() while true do md.sleep(0) end end
