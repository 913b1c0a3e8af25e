-- error(nil).
-- expect: 500 script

return function() error(nil) end
