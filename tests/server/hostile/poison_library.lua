-- The same with Moondial's tables, and metatables of its objects.
-- expect: 200 refused

local md = require "moondial"
return function()
    local tries = {
        function() md.get = nil end,
        function() md.json.encode = nil end,
        function() table.insert(md, 1) end,
        function() setmetatable(md.json.array {}, nil) end,
        function() getmetatable(md.json.array {}).__index = print end,
        function() getmetatable(md.tensor.zeros { 1 }).__index = print end,
        function() md.tensor.zeros({ 1 }).get = print end,
        function() require("moondial.native").now_ms = nil end,
    }
    for i, try in ipairs(tries) do
        if pcall(try) then
            return "done by " .. i
        end
    end
    return "refused"
end
