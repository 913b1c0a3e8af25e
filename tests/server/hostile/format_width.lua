-- A width of 99999 columns.
-- expect: 500 script

return function() return ("%99999d"):format(1) end
