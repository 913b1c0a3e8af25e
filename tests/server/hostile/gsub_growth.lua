-- Every byte becomes a megabyte.
-- expect: 500 memory

return function() return ((("x"):rep(1e4)):gsub("x", ("y"):rep(1e6))) end
