-- An index that is no number.
-- expect: 500 script

local md = require "moondial"
return function() return md.tensor.zeros({ 4 }):get(0 / 0) end
