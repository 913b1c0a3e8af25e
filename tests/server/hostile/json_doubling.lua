-- 2^50 elements in fifty tables.
-- expect: 500

return function()
    local t = { 1 }
    for _ = 1, 50 do
        t = { t, t }
    end
    return t
end
