-- for ... in over what never ends.
-- expect: 500 time

return function()
    for _ in function() return 1 end do end
end
