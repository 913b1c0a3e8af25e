-- What one request leaves in a file's local, no other can use.
-- expect: 500 memory replaced

local kept = {}
return function()
    while true do
        kept[#kept + 1] = ("x"):rep(1e5) .. #kept
    end
end
