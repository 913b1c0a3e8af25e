-- Naive search would need 10^12 comparisons.
-- expect: 200 not found

return function()
    return (("a"):rep(4e6)):find(("a"):rep(2e6) .. "b", 1, true) and "found" or "not found"
end
