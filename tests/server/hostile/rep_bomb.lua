-- string.rep has a cap.
-- expect: 500 script

return function() return ("x"):rep(1e12) end
