-- Inputs that are none.
-- expect: 200 INVALID

local md = require "moondial"
return function()
    local _, why = md.model("affine"):predict { x = md.tensor.zeros { 4, 3 } }
    pcall(md.model("affine").predict, {}, {})
    return why.code
end
