-- A file that was not loaded at the start.
-- expect: 500 script

return function() return require "nothing" end
