-- Thirty times twice as long.
-- expect: 500 memory

return function()
    local s = "0123456789"
    for _ = 1, 40 do
        s = s .. s
    end
    return { #s }
end
