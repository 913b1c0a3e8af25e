-- Lua's own stack overflows.
-- expect: 500 script

local function deep(n) return 1 + deep(n + 1) end
return function() return { deep(1) } end
