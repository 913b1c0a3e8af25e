-- Comparing and showing values in policy tests: a failure names the first place where two tables
-- differ, and shows both sides on one line each.

local compare = {}

local SHOWN_MAX = 400 -- bytes of one side
local DEPTH_MAX = 20

local function sorted_keys(value)
    local keys = {}
    for key in pairs(value) do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b)
        if type(a) ~= type(b) then
            return type(a) == "number"
        end
        return type(a) == "number" and a < b or tostring(a) < tostring(b)
    end)
    return keys
end

local function key_text(key)
    return type(key) == "string" and key:find "^[%a_][%w_]*$" and key or ("[%s]"):format(
        type(key) == "string" and ("%q"):format(key) or tostring(key))
end

local show

local function show_table(value, depth)
    if depth > DEPTH_MAX then
        return "{ ... }"
    end
    local parts, count = {}, #value
    for index = 1, count do
        parts[index] = show(value[index], depth + 1)
    end
    for _, key in ipairs(sorted_keys(value)) do
        local listed = type(key) == "number" and key >= 1 and key <= count and key % 1 == 0
        if not listed then
            parts[#parts + 1] = key_text(key) .. " = " .. show(value[key], depth + 1)
        end
    end
    return #parts == 0 and "{}" or "{ " .. table.concat(parts, ", ") .. " }"
end

function show(value, depth)
    if type(value) == "string" then
        return '"' .. value .. '"'
    elseif type(value) == "number" then
        return ("%.14g"):format(value)
    elseif type(value) == "table" and getmetatable(value) == nil then
        return show_table(value, depth)
    end
    return tostring(value)
end

-- A value on one line, cut where it is long.
function compare.show(value)
    local text = show(value, 1):gsub("%c", " ")
    return #text > SHOWN_MAX and text:sub(1, SHOWN_MAX) .. " ..." or text
end

local function both_tables(a, b)
    return type(a) == "table" and type(b) == "table"
end

local function difference(actual, expected, path, depth)
    local same = actual == expected or (actual ~= actual and expected ~= expected)
    if same then
        return nil
    elseif not both_tables(actual, expected) or depth > DEPTH_MAX then
        return { path = path, actual = actual, expected = expected }
    end
    local all = {}
    for key in pairs(actual) do
        all[key] = true
    end
    for key in pairs(expected) do
        all[key] = true
    end
    for _, key in ipairs(sorted_keys(all)) do
        local step = key_text(key)
        local found = difference(actual[key], expected[key],
            path .. (step:sub(1, 1) == "[" and step or "." .. step), depth + 1)
        if found then
            return found
        end
    end
    return nil
end

-- The first place where two values differ: { path = ".summary.count", actual =, expected = }; nil
-- when they are the same. Tables are compared by what they hold.
function compare.difference(actual, expected)
    return difference(actual, expected, "", 1)
end

return compare
