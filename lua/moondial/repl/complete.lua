-- What the Tab key offers: names in reach, fields and methods of live values, keys inside quotes.
-- Nothing is called to find out: only tables are looked into.

local complete = {}

local MAX = 200

local KEYWORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function",
    "goto", "if", "in", "local", "nil", "not", "or", "repeat", "return", "then", "true", "until",
    "while" }

local function sorted(set)
    local list = {}
    for name in pairs(set) do
        list[#list + 1] = name
    end
    table.sort(list)
    while #list > MAX do
        list[#list] = nil
    end
    return list
end

local function matching(names, prefix, head)
    local found = {}
    for _, name in ipairs(names) do
        if type(name) == "string" and name:sub(1, #prefix) == prefix then
            found[(head or "") .. name] = true
        end
    end
    return found
end

-- The field of a value that is there without calling anything; nil when there is none.
local function field(world, value, name)
    local fields = world.fields(value)
    return fields and rawget(fields, name)
end

-- "a.b.c" and what stands before the last separator, followed from the names in reach.
local function follow(world, path)
    local value
    for name, separator in path:gmatch("([%a_][%w_]*)([.:]?)") do
        if value == nil then
            value = world.lookup(name)
        else
            value = field(world, value, name)
        end
        if value == nil or separator == ":" then
            return value
        end
    end
    return value
end

local function is_name(name)
    return type(name) == "string" and name:find("^[%a_][%w_]*$") and not name:find("^__")
end

local function fields_like(world, path, separator, prefix)
    local fields = world.fields(follow(world, path))
    local found = {}
    for name, value in next, fields or {} do
        local callable = separator ~= ":" or type(value) == "function"
        if is_name(name) and callable and name:sub(1, #prefix) == prefix then
            found[name] = true
        end
    end
    return found
end

-- Inside a quote that is still open: its text so far.
local function open_quote(line)
    local quote, from
    for at = 1, #line do
        local byte = line:sub(at, at)
        if quote == nil and (byte == '"' or byte == "'") then
            quote, from = byte, at + 1
        elseif byte == quote and line:sub(at - 1, at - 1) ~= "\\" then
            quote = nil
        end
    end
    return quote and line:sub(from), quote
end

-- world: lookup(name), names() of everything in reach, fields(value), texts() for quotes,
-- commands, files(). Gives the candidates for the last `length` bytes of the line.
function complete.line(line, world)
    local command = line:match("^%s*(:%a*)$")
    if command then
        return sorted(matching(world.commands, command)), #command
    end
    local file = line:match("^%s*:%a+%s+(%S*)$")
    if file and line:find("^%s*:[elwrd]") then
        return sorted(matching(world.files(), file)), #file
    end
    local text, quote = open_quote(line)
    if quote then
        return sorted(matching(world.texts(), text)), #text
    end
    local path, separator, prefix = line:match("([%a_][%w_.]*)([.:])([%a_]?[%w_]*)$")
    if path then
        return sorted(fields_like(world, path, separator, prefix)), #prefix
    end
    prefix = line:match("[%a_][%w_]*$") or ""
    local found = matching(world.names(), prefix)
    for name in pairs(prefix ~= "" and matching(KEYWORDS, prefix) or {}) do
        found[name] = true
    end
    return sorted(found), #prefix
end

return complete
