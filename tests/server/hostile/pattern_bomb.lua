-- Twelve lazy captures try every way to split a text.
-- expect: 500 time

return function() return { (("a"):rep(5000)):find(("(.-)"):rep(12) .. "b") } end
