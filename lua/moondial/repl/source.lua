-- Putting a function's new text into the text of its file: what someone types at the prompt becomes
-- a patch, which sees the file's locals.

local source = {}

-- `function risk.score(...) ... end` -> "risk", "score", ".", the same without its name; nothing
-- when the code is something else.
function source.definition(code)
    local module, separator, field, rest =
        code:match("^%s*function%s+([%a_][%w_]*)([.:])([%a_][%w_]*)%s*(%(.*)$")
    if not module then
        return nil
    end
    return module, field, separator, rest
end

-- Is the rest one function and nothing else? compiles(text) tells whether a text compiles.
function source.is_single(separator, rest, compiles)
    local parameters = separator == ":" and rest:gsub("^%(%s*", "(self, ", 1)
        :gsub("^%(self, %)", "(self)", 1) or rest
    return compiles("return function" .. parameters)
end

local function lines_of(text)
    local lines = {}
    for line in (text:gsub("\n$", "") .. "\n"):gmatch("(.-)\n") do
        lines[#lines + 1] = line
    end
    return lines
end

local function trimmed(code)
    return (code:gsub("^%s*\n", ""):gsub("%s+$", ""))
end

-- The text with lines first to last replaced, which must be the whole definition of name.
function source.replace(text, first, last, name, code)
    local lines = lines_of(text)
    local opening, closing = lines[first], lines[last]
    local pattern = "^%s*function%s+" .. name:gsub("%p", "%%%0") .. "%s*%("
    if not opening or not opening:find(pattern) or not closing:find("end%s*$") then
        return nil, ("%s is not written as \"function %s(...) ... end\" there"):format(name, name)
    end
    local indent = opening:match("^%s*")
    local out = {}
    for at = 1, first - 1 do
        out[#out + 1] = lines[at]
    end
    out[#out + 1] = indent .. trimmed(code):gsub("^%s+", "")
    for at = last + 1, #lines do
        out[#out + 1] = lines[at]
    end
    return table.concat(out, "\n") .. "\n"
end

-- The text with one more function before its final return.
function source.insert(text, code)
    local lines = lines_of(text)
    for at = #lines, 1, -1 do
        if lines[at]:find("^return%f[^%w_]") then
            table.insert(lines, at, trimmed(code) .. "\n")
            return table.concat(lines, "\n") .. "\n"
        end
    end
    return nil, "the file does not end with \"return\""
end

return source
