-- The loop is called by C.
-- expect: 500 time

return function() return (("x"):gsub("x", function() while true do end end)) end
