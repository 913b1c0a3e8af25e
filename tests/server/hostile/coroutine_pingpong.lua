-- No iteration of the generator is long.
-- expect: 500 time

return function()
    local tick = coroutine.wrap(function() while true do coroutine.yield(1) end end)
    while tick() do end
end
