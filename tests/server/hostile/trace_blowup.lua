-- A loop that asks for too much in one step, once it has been compiled (sandbox.c says when).
-- expect: 500 memory replaced

return function()
    local s, n = "", 0
    for i = 1, 20000 do
        local a = s .. s .. s .. s .. s .. s .. s .. s
        local b = a .. a .. a .. a .. a .. a .. a .. a
        local c = b .. b .. b .. b .. b .. b .. b .. b
        n = n + #c
        if i == 10000 then
            s = ("x"):rep(1e5)
        end
    end
    return { n }
end
