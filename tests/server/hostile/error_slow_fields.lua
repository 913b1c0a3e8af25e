-- The error's fields take forever.
-- expect: 500 script

return function()
    error(setmetatable({}, { __index = function() while true do end end }))
end
