-- A hundred thousand sleepers.
-- expect: 500

return function()
    local kept = {}
    while true do
        local co = coroutine.create(function(...) local a = { ... } coroutine.yield(a) end)
        coroutine.resume(co, unpack({}, 1, 200))
        kept[#kept + 1] = co
    end
end
