-- From a mistake in a table to the line where it is written: "timers[2]: unknown key 'every_sec'"
-- is looked up in the source text of the file, by walking its table constructors. What is not
-- written as a constructor (a function makes it, another file holds it) is found as far as it goes.

local tokens = require "moondial.tokens"

local locate = {}

local OPENS = { ["function"] = true, ["if"] = true, ["do"] = true, ["repeat"] = true,
    ["("] = true, ["{"] = true, ["["] = true }
local CLOSES = { ["end"] = true, ["until"] = true, [")"] = true, ["}"] = true, ["]"] = true }

local function is(token, text)
    return token ~= nil and token.kind ~= "string" and token.text == text
end

-- Past the expression that begins at `at`: the comma, semicolon or brace that ends it.
local function after_value(list, at)
    local depth = 0
    while list[at] do
        local token = list[at]
        local text = token.kind ~= "string" and token.text or ""
        if depth == 0 and (text == "," or text == ";" or text == "}") then
            return at
        elseif OPENS[text] then
            depth = depth + 1
        elseif CLOSES[text] then
            depth = depth - 1
        end
        at = at + 1
    end
    return at
end

-- Where the key of the entry at `at` ends and its value begins; key nil: positional.
local function read_key(list, at)
    local token, after = list[at], list[at + 1]
    if token.kind == "name" and is(after, "=") then
        return token.text, at + 2
    elseif is(token, "[") and after and is(list[at + 2], "]") and is(list[at + 3], "=") then
        return after.kind == "number" and tonumber(after.text) or after.text, at + 4
    end
    return nil, at
end

-- The entries of the constructor whose brace is at `at`: key to { line, value = index }.
local function entries(list, at)
    local found, position = {}, 0
    at = at + 1
    while list[at] and not is(list[at], "}") do
        local begin = at
        local key, value = read_key(list, at)
        if key == nil then
            position = position + 1
            key = position
        end
        found[key] = { line = list[begin].line, value = value }
        at = after_value(list, value)
        if is(list[at], ",") or is(list[at], ";") then
            at = at + 1
        end
    end
    return found
end

-- `name = {` anywhere: the brace.
local function find_named(list, name)
    for at = 1, #list - 2 do
        if list[at].kind == "name" and list[at].text == name and is(list[at + 1], "=")
            and is(list[at + 2], "{") then
            return at + 2
        end
    end
end

local function find_app(list)
    for at = 2, #list - 1 do
        if is(list[at], "app") and is(list[at - 1], ".") then
            local brace = is(list[at + 1], "(") and at + 2 or at + 1
            return is(list[brace], "{") and brace or nil
        end
    end
end

-- The brace of the table that a value is: written there, or in a variable of that name.
local function brace_of(list, value)
    if is(list[value], "{") then
        return value
    end
    local token = list[value]
    return token and token.kind == "name" and find_named(list, token.text) or nil
end

-- The table that the file returns.
local function find_return(list)
    for at = #list - 1, 1, -1 do
        local brace = is(list[at], "return") and brace_of(list, at + 1)
        if brace then
            return brace
        end
    end
end

-- "series.cpu.columns[3]" to { "series", "cpu", "columns", 3 }.
local function parts_of(what)
    local parts = {}
    for name, index in what:gmatch "([^%.%[%]]*)%[?(%d*)%]?" do
        if name ~= "" then
            parts[#parts + 1] = name
        end
        if index ~= "" then
            parts[#parts + 1] = tonumber(index)
        end
    end
    return parts
end

local function root_of(list, parts)
    local app = find_app(list)
    if app then
        if parts[1] == "app" then
            table.remove(parts, 1)
        end
        return app
    end
    local named = parts[1] and find_named(list, parts[1])
    if named then
        table.remove(parts, 1)
    end
    return named or find_return(list)
end

-- The line of the entry that `parts` lead to, or of the last one on the way that is there; then of
-- the first word of `text` that is a key of the table reached.
local function walk(list, root, parts, text)
    local brace, line = root, nil
    for _, part in ipairs(parts) do
        local entry = brace and entries(list, brace)[part]
        if not entry then
            return line
        end
        line, brace = entry.line, brace_of(list, entry.value)
    end
    local inner = brace and entries(list, brace) or {}
    for word in text:gmatch "[%w_]+" do
        if inner[word] then
            return inner[word].line
        end
    end
    return line
end

local function line_of_string(list, text)
    local line
    for _, token in ipairs(list) do
        if token.kind == "string" and token.text == text then
            line = token.line
        end
    end
    return line
end

-- The line of source that a mistake is about; nil when it cannot be told.
function locate.line(source, mistake)
    local list = tokens.of(source)
    local pattern = mistake:match "^route %u+ (%S+): "
    if pattern then
        return line_of_string(list, pattern)
    end
    local what, text = mistake:match "^([%w_%.%[%]%-]+): (.*)$"
    if not what then
        what, text = mistake:match "^([%w_%.%[%]%-]+) (.*)$"
    end
    local parts = parts_of(what or "")
    local root = root_of(list, parts)
    return root and walk(list, root, parts, text or "")
end

return locate
