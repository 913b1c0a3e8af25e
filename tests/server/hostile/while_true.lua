-- The plainest of them.
-- expect: 500 time

return function() while true do end end
