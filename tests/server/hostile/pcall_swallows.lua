-- Catches its end and answers as if nothing had been.
-- expect: 500 time

local function forever() while true do end end
return function()
    pcall(forever)
    return "fine"
end
