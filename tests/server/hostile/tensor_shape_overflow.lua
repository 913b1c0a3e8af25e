-- A product of dimensions that no integer holds.
-- expect: 500 script

local md = require "moondial"
return function() return md.tensor.zeros { 2 ^ 40, 2 ^ 40 } end
