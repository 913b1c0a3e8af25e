-- A sort that needs longer than there is.
-- expect: 500 time

return function()
    local list = {}
    for i = 1, 4e5 do
        list[i] = (i * 7919) % 1000003
    end
    while true do
        table.sort(list, function(a, b) return a > b end)
    end
end
