-- The loop runs in a coroutine of its own.
-- expect: 500 time

return function()
    coroutine.wrap(function() while true do end end)()
end
