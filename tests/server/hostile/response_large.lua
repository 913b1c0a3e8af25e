-- An answer over response_bytes_max.
-- expect: 500 script

return function() return ("x"):rep(1.2e7) end
