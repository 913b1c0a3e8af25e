-- And none of it gets out.
-- expect: 500 script

return function() return string.dump(function() end) end
