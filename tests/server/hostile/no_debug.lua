-- debug, ffi, io, os.execute.
-- expect: 500 script

return function() return debug.getregistry() end
