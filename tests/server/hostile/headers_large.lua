-- Headers without measure.
-- expect: 500 script

return function() return 200, "ok", { ["X-Large"] = ("x"):rep(1e6) } end
