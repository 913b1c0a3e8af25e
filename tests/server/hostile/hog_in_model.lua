-- The same while a model runs.
-- expect: 200 kept

local md = require "moondial"
return function()
    local kept = {}
    for i = 1, 100 do
        kept[i] = ("x"):rep(1e5) .. i
    end
    local outputs = assert(md.model("affine"):predict { x = md.tensor.zeros { 4, 2 } })
    return outputs.y:dim(1) == 4 and #kept == 100 and "kept" or "lost"
end
