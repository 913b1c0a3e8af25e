-- A hundred thousand lines.
-- expect: 200 flooded

return function()
    for i = 1, 1e5 do
        print("flood", i)
    end
    return "flooded"
end
