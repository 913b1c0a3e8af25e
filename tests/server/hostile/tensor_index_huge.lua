-- Indexes that wrap around.
-- expect: 500 script

local md = require "moondial"
return function() md.tensor.zeros({ 4, 4 }):set(2 ^ 62, 2 ^ 62, 1) end
