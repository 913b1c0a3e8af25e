-- Closures that hold each other.
-- expect: 500

return function()
    local f = function() end
    while true do
        local inner = f
        f = function() return inner end
    end
end
