-- Neither a loop nor a deeper stack.
-- expect: 500 time

local function ping(n, pong) return pong(n + 1, ping) end
local function pong(n, other) return other(n, pong) end
return function() return ping(1, pong) end
