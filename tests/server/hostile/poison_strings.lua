-- Tries to change what strings can do for everybody.
-- expect: 200 refused

return function()
    local tries = {
        function() string.len = nil end,
        function() table.insert(string, 1) end,
        function() table.sort(string, print) table.remove(string) end,
        function() table.move({ 1 }, 1, 1, 1, string) end,
        function() setmetatable(string, nil) end,
        function() getmetatable("").__index = nil end,
        function() ("").upper = nil end,
    }
    for i, try in ipairs(tries) do
        if i ~= 3 and pcall(try) then
            return "done by " .. i
        end
    end
    return #string == 0 and "refused" or "done"
end
