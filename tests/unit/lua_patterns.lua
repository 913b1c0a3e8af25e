-- Compares our find, match, gmatch and gsub with the library's on generated patterns and texts:
-- the same results and the same errors. Called with both sets of functions and the number of cases.

local ours, stock, cases = ...

local seed = 20261121
local function random(count)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return math.floor(seed / 65536) % count + 1
end

local function pick(list)
    return list[random(#list)]
end

local letters = { "a", "b", "c", "A", "1", " ", ".", "-", "_", "\0", "\200", "%", "(", "]", "x" }
local classes = { "a", "b", ".", "%a", "%d", "%w", "%s", "%S", "%l", "%u", "%x", "%p", "%c", "%z",
    "%g", "%.", "%%", "%-", "[ab]", "[^a]", "[a-c]", "[%a-]", "[]a]", "[^]]", "[%w_]", "[a-]",
    "[-a]",
    "[%]]", "[a%-c]", "[.]", "[^%s]", "[a-%%]", "\200", "[\128-\255]", "%q", "[z-a]" }
local repeats = { "", "", "", "*", "+", "-", "?" }
local specials = { "()", "%b()", "%bab", "%f[%w]", "%f[^a]", "%1", "%2", "$", "^", "%", "[", "(",
    ")", "%b", "%bx", "%f", "]", "[^", "[a", "[%", "%0", "[]", "[^]", "[a-" }
local replacements = { "", "x", "<%0>", "%1", "%2%1", "%%", "%x", "%", "[%0%0]", 7,
    { a = "T", b = false, [1] = "one" }, function(a, b) return b or a and a .. "!" end,
    function() return nil end, function() return {} end, true }

local function make_text()
    local pieces = {}
    for i = 1, random(14) - 1 do
        pieces[i] = pick(letters)
    end
    return table.concat(pieces)
end

local function make_items(depth)
    local pieces = {}
    for i = 1, random(4) do
        local kind = random(12)
        if kind == 1 and depth < 3 then
            pieces[i] = "(" .. make_items(depth + 1) .. ")"
        elseif kind <= 3 then
            pieces[i] = pick(specials)
        else
            pieces[i] = pick(classes) .. pick(repeats)
        end
    end
    return table.concat(pieces)
end

local function make_pattern()
    return (random(5) == 1 and "^" or "") .. make_items(1) .. (random(6) == 1 and "$" or "")
end

local function show(value)
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

-- Everything that a call gives as one text; of an error what it says, not where.
local function outcome(f, ...)
    local results = { pcall(f, ...) }
    for i = 1, 40 do
        results[i] = show(results[i])
    end
    if results[1] == "false" then
        local text = results[2]:gsub("^\"[^ ]-:%d+: ", "\"")
        return (text:gsub("bad argument #%d to '[^']*'", "bad argument"))
    end
    return table.concat(results, " ", 1, 40)
end

local function all_matches(gmatch, text, pattern)
    local found = {}
    for a, b, c in gmatch(text, pattern) do
        found[#found + 1] = show(a) .. "," .. show(b) .. "," .. show(c)
    end
    return table.concat(found, ";")
end

-- A search of ours that the library thinks too deep is a search it cannot judge.
local function compare(what, mine, theirs)
    if mine ~= theirs and not theirs:find("too complex", 1, true) then
        error(("%s: ours gives %s, the library %s"):format(what, mine, theirs), 0)
    end
end

local matched = 0
for _ = 1, cases do
    local text, pattern, init = make_text(), make_pattern(), random(24) - 8
    local shown = ("%q, %q, %d"):format(text, pattern, init)
    local theirs = outcome(stock.find, text, pattern, init)
    matched = matched + (theirs:find("true %d") and 1 or 0)
    compare("find " .. shown, outcome(ours.find, text, pattern, init), theirs)
    compare("plain find " .. shown, outcome(ours.find, text, pattern, init, true),
        outcome(stock.find, text, pattern, init, true))
    compare("match " .. shown, outcome(ours.match, text, pattern, init),
        outcome(stock.match, text, pattern, init))
    compare("gmatch " .. shown, outcome(all_matches, ours.gmatch, text, pattern),
        outcome(all_matches, stock.gmatch, text, pattern))
    local replacement, most = pick(replacements), random(3) == 1 and random(4) - 2 or nil
    compare("gsub " .. shown .. " " .. show(replacement),
        outcome(ours.gsub, text, pattern, replacement, most),
        outcome(stock.gsub, text, pattern, replacement, most))
end

return matched
