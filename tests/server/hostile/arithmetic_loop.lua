-- Hot enough to be compiled, where no debug hook fires.
-- expect: 500 time

return function()
    local x = 0
    for i = 1, 1e15 do
        x = (x * 3 + i) % 1000003
    end
    return { x }
end
