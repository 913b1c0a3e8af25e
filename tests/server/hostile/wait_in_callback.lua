-- Waits where C waits for it.
-- expect: 200 cannot wait inside

local md = require "moondial"
return function()
    local why
    local _ = ("x"):gsub("x", function() why = select(2, pcall(md.sleep, 0)) end)
    coroutine.wrap(function() pcall(md.sleep, 0) end)()
    return why
end
