-- One text of a thousand large ones.
-- expect: 500 memory

return function()
    local pieces = {}
    for i = 1, 1000 do
        pieces[i] = ("x"):rep(1e6)
    end
    return table.concat(pieces)
end
