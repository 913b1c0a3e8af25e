-- tostring asks for __tostring, which is tostring.
-- expect: 500 time

return function()
    local meta = {}
    meta.__tostring = tostring
    return tostring(setmetatable({}, meta))
end
