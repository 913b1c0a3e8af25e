-- Straight code after its end, all of it large strings.
-- expect: 500 time

local function forever() while true do end end
return function()
    local s = ("x"):rep(1e6)
    pcall(forever)
    s = s .. "1" s = s .. "2" s = s .. "3" s = s .. "4" s = s .. "5" s = s .. "6"
    return "fine"
end
