-- A command of the system.
-- expect: 500 script

return function() return os.execute("true") end
