-- The same for a dict.
-- expect: 200 TOO_LARGE or time

local md = require "moondial"
return function()
    local t = { 1 }
    for _ = 1, 25 do
        t = { t, t }
    end
    local _, why = md.dict("hostile"):set("t", t)
    return { why.code }
end
