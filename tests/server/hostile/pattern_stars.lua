-- The same by greed, in gmatch.
-- expect: 500 time

return function()
    for _ in (("a"):rep(20000)):gmatch("a*a*a*a*a*b") do end
end
