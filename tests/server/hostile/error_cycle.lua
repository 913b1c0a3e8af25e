-- Raises a table that holds itself.
-- expect: 500 script

return function()
    local t = {}
    t.detail, t.code = t, t
    error(t)
end
