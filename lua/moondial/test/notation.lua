-- Prometheus' notation for a series of values, as promtool's unit tests have it:
--
--     50          one value            1+2x5     1 3 5 7 9 11: five steps after the first
--     50x3        50 50 50 50          -2-3x4    -2 -5 -8 -11 -14
--     _           nothing was sent     _x3       nothing, three times
--     stale       the series ends here: it is forgotten, until a value comes again
--
-- separated by blanks. A list of numbers does as well, with "_" and "stale" where there are none.
-- Values come out as numbers, false (nothing) and "stale"; mistakes as nil and a text.

local notation = {}

local VALUES_MAX = 100000

-- The end of the number at `at`, nil where there is none. An exponent needs digits, so that the
-- sign of 1-2x4 stays a step.
local function after_number(text, at)
    local digits = text:match("^[+-]?%d+%.?%d*", at) or text:match("^[+-]?%.%d+", at)
    if not digits then
        return nil
    end
    at = at + #digits
    local exponent = text:match("^[eE][+-]?%d+", at)
    return exponent and at + #exponent or at
end

-- { from, step, times } of "1+2x5"; nil when it is none.
local function read_number(word)
    local stop = after_number(word, 1)
    if not stop then
        return nil
    end
    local from = tonumber(word:sub(1, stop - 1))
    if stop > #word then
        return from, 0, 0
    end
    local step, at = 0, stop
    if word:find("^[+-]", stop) then
        at = after_number(word, stop)
        step = at and tonumber(word:sub(stop, at - 1))
    end
    local times = step and word:match("^x(%d+)$", at)
    if not times then
        return nil
    end
    return from, step, tonumber(times)
end

local function add(values, value, step, count)
    if #values + count > VALUES_MAX then
        return false
    end
    for index = 0, count - 1 do
        values[#values + 1] = value and step and value + index * step or value
    end
    return true
end

-- Appends what a word stands for; false and why not.
local function add_word(values, word)
    local missing = word:match "^_x(%d+)$"
    local from, step, times = read_number(word)
    local fits
    if word == "_" or missing then
        fits = add(values, false, nil, tonumber(missing or 1))
    elseif word == "stale" then
        fits = add(values, "stale", nil, 1)
    elseif from then
        fits = add(values, from, step, times + 1)
    else
        return false, ("'%s' is no value: 50, 50x3, 1+2x5, -2-3x4, _, _x3 or stale"):format(word)
    end
    return fits, not fits and ("'%s': more than %d values"):format(word, VALUES_MAX) or nil
end

local function read_text(text)
    local values = {}
    for at, word in text:gmatch "()(%S+)" do
        local fits, why = add_word(values, word)
        if not fits then
            return nil, ("position %d: %s"):format(at, why)
        end
    end
    return values
end

local function read_list(list)
    local values = {}
    for index, value in ipairs(list) do
        local known = type(value) == "number" or value == "stale" or value == "_" or value == false
        if not known then
            return nil, ("value %d: a number, \"_\" or \"stale\", not %s"):format(index,
                type(value) == "string" and "'" .. value .. "'" or "a " .. type(value))
        end
        values[index] = value ~= "_" and value == value and value
    end
    return values
end

-- The values that a text or a list stands for; nil and what is wrong, with its position.
function notation.values(given)
    if type(given) == "string" then
        return read_text(given)
    elseif type(given) == "number" then
        return { given }
    elseif type(given) == "table" then
        return read_list(given)
    end
    return nil, ("a series is a text like \"50x3 90+1x5\" or a list, not a %s"):format(type(given))
end

return notation
