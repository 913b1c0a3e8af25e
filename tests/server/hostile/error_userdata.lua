-- Raises a tensor.
-- expect: 500 script

local md = require "moondial"
return function() error(md.tensor.zeros { 1 }) end
