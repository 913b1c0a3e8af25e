-- An order that takes forever, asked for by table.sort.
-- expect: 500 time

local meta = { __lt = function() while true do end end }
return function()
    table.sort { setmetatable({}, meta), setmetatable({}, meta) }
end
