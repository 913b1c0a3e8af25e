-- The tokens of a Lua source text: enough of a scanner to find names and tables in a file without
-- running it. It takes text that LuaJIT has compiled or refused; what makes no sense is skipped.

local tokens = {}

local function long_bracket(text, at)
    local equals = text:match("^%[(=*)%[", at)
    if not equals then
        return nil
    end
    local _, stop = text:find("]" .. equals .. "]", at + #equals + 2, true)
    return stop or #text, #equals + 2
end

local function after_comment(text, at)
    local stop = long_bracket(text, at + 2)
    return (stop or (text:find("\n", at, true) or #text + 1) - 1) + 1
end

local function after_string(text, at)
    local quote = text:sub(at, at)
    local position = at + 1
    while position <= #text do
        local byte = text:sub(position, position)
        if byte == "\\" then
            position = position + 1
        elseif byte == quote or byte == "\n" then
            break
        end
        position = position + 1
    end
    return position + 1
end

-- The end of the token at `at`, its kind, and its value where that is not its text.
local function scan(text, at)
    local first = text:sub(at, at)
    local _, stop = text:find("^[%a_\128-\255][%w_\128-\255]*", at)
    if stop then
        return stop + 1, "name"
    end
    _, stop = text:find("^%.?%d[%w%.]*", at)
    if stop then
        return stop + 1, "number"
    end
    if first == '"' or first == "'" then
        local past = after_string(text, at)
        return past, "string", text:sub(at + 1, past - 2)
    end
    local close, width = long_bracket(text, at)
    if close then
        return close + 1, "string", text:sub(at + width, close - width)
    end
    local symbol = text:match("^%.%.%.?", at) or text:match("^[=~<>]=", at) or first
    return at + #symbol, "symbol"
end

local function count_lines(text, from, to)
    local lines = 0
    for _ in text:sub(from, to):gmatch "\n" do
        lines = lines + 1
    end
    return lines
end

-- A list of { kind = "name" | "number" | "string" | "symbol", text =, line = }.
function tokens.of(text)
    local list, at, line = {}, 1, 1
    while at <= #text do
        local past
        if text:find("^%s", at) then
            past = (text:find("%S", at) or #text + 1)
        elseif text:find("^%-%-", at) then
            past = after_comment(text, at)
        else
            local kind, value
            past, kind, value = scan(text, at)
            list[#list + 1] = { kind = kind, text = value or text:sub(at, past - 1), line = line }
        end
        line = line + count_lines(text, at, past - 1)
        at = past
    end
    return list
end

return tokens
