-- Holds what it may while it sleeps.
-- expect: 200 kept

local md = require "moondial"
return function()
    local kept = {}
    for i = 1, 100 do
        kept[i] = ("x"):rep(1e5) .. i
    end
    md.sleep(0.3)
    return #kept == 100 and "kept" or "lost"
end
