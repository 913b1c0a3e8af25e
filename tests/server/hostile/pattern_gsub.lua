-- The same in gsub.
-- expect: 500 time

return function() return (("a"):rep(20000)):gsub(".-.-.-.-.-b", "") end
