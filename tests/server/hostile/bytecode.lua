-- Code that is no text.
-- expect: 500 script

return function() return load("\27LJ\2") end
