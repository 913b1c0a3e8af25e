-- Finalizers of a script's own, which there are none of.
-- expect: 200 quiet

return function()
    for _ = 1, 1e4 do
        setmetatable({}, { __gc = function() while true do end end, __mode = "kv" })
    end
    return "quiet"
end
