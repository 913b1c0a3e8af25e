-- Recursion that is wide, not deep.
-- expect: 500 time

local function fibonacci(n) return n < 2 and n or fibonacci(n - 1) + fibonacci(n - 2) end
return function() return { fibonacci(90) } end
