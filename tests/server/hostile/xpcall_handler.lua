-- The error handler is the loop.
-- expect: 500 time

local function forever() while true do end end
return function() return { xpcall(error, forever) } end
