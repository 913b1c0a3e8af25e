-- Checking tables that people write: unknown keys get a suggestion, wrong types their name.
--
-- A schema maps a key to { "type", required = true, default = value }; "list" and "map" are tables
-- with and without elements. All mistakes of a table are collected, one a line.

local locate = require "moondial.locate"
local has_native, native = pcall(require, "moondial.native")

local check = {}

-- Levenshtein distance: changed, added and missing letters.
local function distance(a, b)
    local row = {}
    for j = 0, #b do
        row[j] = j
    end
    for i = 1, #a do
        local diagonal = row[0]
        row[0] = i
        for j = 1, #b do
            local change = diagonal + (a:byte(i) == b:byte(j) and 0 or 1)
            diagonal = row[j]
            row[j] = math.min(change, row[j] + 1, row[j - 1] + 1)
        end
    end
    return row[#b]
end

-- The name in `known` that somebody may have meant, at most steps_max letters away; nil: none.
function check.nearest(name, known, steps_max)
    local best, nearest = nil, steps_max + 1
    for candidate in pairs(known) do
        local steps = distance(name, candidate)
        if steps < nearest or (steps == nearest and best and candidate < best) then
            best, nearest = candidate, steps
        end
    end
    return best
end

function check.suggestion(name, known)
    name = tostring(name)
    local best = check.nearest(name, known, math.min(3, math.floor(#name / 2)))
    return best and (" (did you mean '%s'?)"):format(best) or ""
end

-- { "a", "b" } to { a = true, b = true }.
function check.set_of(list)
    local set = {}
    for _, entry in ipairs(list) do
        set[entry] = true
    end
    return set
end

-- The keys of a map as texts.
function check.sorted_names(map)
    local names = {}
    for name in pairs(map) do
        names[#names + 1] = tostring(name)
    end
    table.sort(names)
    return names
end

function check.sorted_keys(map)
    local keys = {}
    for key in pairs(map) do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b)
        return tostring(a) < tostring(b)
    end)
    return keys
end

-- { a = "x" } to { { name = "a", value = "x" } }, by name.
function check.pairs_list(map)
    local list = {}
    for index, name in ipairs(check.sorted_keys(map)) do
        list[index] = { name = name, value = map[name] }
    end
    return list
end

local function is_type(value, expected)
    if expected == "list" or expected == "map" then
        return type(value) == "table"
    end
    return expected == "any" or type(value) == expected
end

local function check_field(what, name, value, field, mistakes)
    if value == nil then
        if field.required then
            mistakes[#mistakes + 1] = ("%s: '%s' is missing"):format(what, name)
        end
    elseif not is_type(value, field[1]) then
        mistakes[#mistakes + 1] = ("%s: '%s' must be a %s, not a %s"):format(what, name, field[1],
            type(value))
    end
end

-- Checks `given` against `schema`, adds to `mistakes`, and returns a copy with defaults.
function check.fields(what, given, schema, mistakes)
    local copy = {}
    if type(given) ~= "table" then
        mistakes[#mistakes + 1] = ("%s must be a table, not a %s"):format(what, type(given))
        return copy
    end
    for name, field in pairs(schema) do
        check_field(what, name, given[name], field, mistakes)
        copy[name] = given[name]
        if copy[name] == nil then
            copy[name] = field.default
        end
    end
    for name in pairs(given) do
        if not schema[name] then
            mistakes[#mistakes + 1] = ("%s: unknown key '%s'%s"):format(what, tostring(name),
                check.suggestion(name, schema))
        end
    end
    return copy
end

-- "app.lua:12: timers[2]: ...", in the order of the lines as far as they are known.
function check.lines(mistakes, file)
    local source = has_native and native.source(file)
    local lines, number = {}, {}
    for index, mistake in ipairs(mistakes) do
        local line = source and locate.line(source, mistake)
        lines[index] = line and ("%s:%d: %s"):format(file, line, mistake)
            or ("%s: %s"):format(file, mistake)
        number[lines[index]] = line or 0
    end
    table.sort(lines, function(a, b)
        return number[a] < number[b] or (number[a] == number[b] and a < b)
    end)
    return lines
end

-- Raises all mistakes at once: at the caller's caller, or with the file's name when that is known
-- (`return md.app { ... }` is a tail call, which leaves no line to blame).
function check.done(mistakes, file)
    if #mistakes == 0 then
        return
    end
    table.sort(mistakes)
    if not file then
        error(table.concat(mistakes, "\n"), 3)
    end
    error(table.concat(check.lines(mistakes, file), "\n"), 0)
end

return check
