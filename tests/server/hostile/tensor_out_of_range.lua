-- One past the end.
-- expect: 500 script

local md = require "moondial"
return function() return md.tensor.zeros({ 4 }):get(5) end
