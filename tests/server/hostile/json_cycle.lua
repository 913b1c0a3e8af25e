-- A table that holds itself.
-- expect: 500 script

return function()
    local t = {}
    t.self = t
    return t
end
