-- Backwards without any loop statement.
-- expect: 500 time

return function()
    local n = 0
    ::top::
    n = n + 1
    goto top
end
