-- Each insertion moves all there is.
-- expect: 500 time

return function()
    local list = {}
    while true do
        table.insert(list, 1, true)
    end
end
