-- print of what cannot be shown.
-- expect: 500 script

return function() print(setmetatable({}, { __tostring = function() return {} end })) end
