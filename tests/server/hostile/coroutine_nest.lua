-- Coroutines in coroutines until C has no stack left.
-- expect: 500

local function nest() return coroutine.wrap(nest)() end
return function() return nest() end
