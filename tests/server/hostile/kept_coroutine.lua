-- A generator in a local of its file goes on in later requests.
-- expect: 200 1

local kept = coroutine.wrap(function() while true do coroutine.yield(1) end end)
return function() return tostring(kept()) end
