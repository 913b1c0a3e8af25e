-- A hundred million results.
-- expect: 500 script

return function() return unpack({}, 1, 1e8) end
