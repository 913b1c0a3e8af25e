-- A global would outlive the request.
-- expect: 500 script

return function() leaked = 1 end
