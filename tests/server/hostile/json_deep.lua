-- A thousand tables in each other.
-- expect: 500 script

return function()
    local t = {}
    for _ = 1, 1000 do
        t = { t }
    end
    return t
end
