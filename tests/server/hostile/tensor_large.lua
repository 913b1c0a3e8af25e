-- 4 TB of zeros.
-- expect: 500 memory

local md = require "moondial"
return function() return md.tensor.zeros { 1e6, 1e6 } end
