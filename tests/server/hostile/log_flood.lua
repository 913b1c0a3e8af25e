-- Ten thousand lines.
-- expect: 200 flooded or time

return function()
    for i = 1, 1e4 do
        print("flood", i)
    end
    return "flooded"
end
