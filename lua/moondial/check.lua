-- Checking tables that people write: unknown keys get a suggestion, wrong types their name.
--
-- A schema maps a key to { "type", required = true, default = value }; "list" and "map" are tables
-- with and without elements. All mistakes of a table are collected, one a line.

local check = {}

-- Levenshtein distance.
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

function check.suggestion(name, known)
    local best, nearest = nil, 4
    for candidate in pairs(known) do
        local steps = distance(tostring(name), candidate)
        if steps < nearest or (steps == nearest and best and candidate < best) then
            best, nearest = candidate, steps
        end
    end
    return best and (" (did you mean '%s'?)"):format(best) or ""
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
    for index, mistake in ipairs(mistakes) do
        mistakes[index] = file .. ": " .. mistake
    end
    error(table.concat(mistakes, "\n"), 0)
end

return check
