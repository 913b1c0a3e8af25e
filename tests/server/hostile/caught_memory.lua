-- Catches every failure and asks for more.
-- expect: 500

return function()
    local kept = {}
    local function grow() while true do kept[#kept + 1] = ("x"):rep(1e5) .. #kept end end
    while true do
        pcall(grow)
        kept[#kept + 1] = {}
    end
end
