-- A range of a thousand million millions.
-- expect: 500 time

return function() return { table.move({}, 1, 1e15, 2) } end
