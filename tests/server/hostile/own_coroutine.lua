-- What it could hand to another request is not to be had.
-- expect: 200 nil

return function() return tostring(coroutine.running()) end
