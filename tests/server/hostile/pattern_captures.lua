-- Back references compared at every place.
-- expect: 500 time

return function() return { (("ab"):rep(20000)):match("(.+)(.+)%1%2%1c") } end
