-- A metamethod that calls itself.
-- expect: 500 script

local t = {}
setmetatable(t, { __index = function(self, key) return self[key] .. "" end })
return function() return t.x end
