-- NaNs of every kind come back as numbers, never as values.
-- expect: 200 number

local md = require "moondial"
return function()
    local t = md.tensor.from { 0 / 0, -(0 / 0), 1 / 0 }
    for _, dtype in ipairs { "float16", "bfloat16", "float64", "float32" } do
        local other = t:astype(dtype)
        for i = 1, 2 do
            local value = other:get(i)
            if type(value) ~= "number" or value == value then
                return "forged a " .. type(value)
            end
        end
    end
    return type(t:totable()[1])
end
