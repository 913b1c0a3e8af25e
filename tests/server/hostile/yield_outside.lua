-- Yields from the handler itself.
-- expect: 500 script

return function() coroutine.yield() end
