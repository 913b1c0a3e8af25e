-- Catches its end and goes on.
-- expect: 500 time

local function forever() while true do end end
return function() while true do pcall(forever) end end
