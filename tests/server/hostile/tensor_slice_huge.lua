-- A slice beyond all bounds.
-- expect: 500 script

local md = require "moondial"
return function() return md.tensor.zeros({ 4 }):slice(1, -2 ^ 53, 2 ^ 53) end
