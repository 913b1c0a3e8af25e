-- A table without end.
-- expect: 500

return function()
    local t = {}
    while true do
        t[#t + 1] = { #t }
    end
end
