-- Callbacks in callbacks likewise.
-- expect: 500 script

local function nest(s) return (s:gsub(".", nest)) end
return function() return nest "x" end
