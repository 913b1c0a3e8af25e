-- repeat has its own back-edge.
-- expect: 500 time

return function()
    local n = 0
    repeat n = n + 1 until n < 0
end
