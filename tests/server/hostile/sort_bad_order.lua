-- An order that contradicts itself.
-- expect: 200 [200]

return function()
    local list = {}
    for i = 1, 200 do
        list[i] = i
    end
    table.sort(list, function() return true end)
    return { #list }
end
