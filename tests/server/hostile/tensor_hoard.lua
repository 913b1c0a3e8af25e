-- Many tensors, none of them large.
-- expect: 500 memory

local md = require "moondial"
return function()
    local kept = {}
    while true do
        kept[#kept + 1] = md.tensor.zeros { 1000, 100 }
    end
end
