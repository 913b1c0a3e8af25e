-- The error's own text fails.
-- expect: 500 script

return function()
    error(setmetatable({}, { __tostring = function() error "again" end }))
end
