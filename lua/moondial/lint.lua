-- What moondial check finds in a file without running it.
--
-- Undeclared variables: the names that a compiled file takes for global ones are read from its
-- bytecode; what is none of the sandbox's names would raise only when its line is run.
--
-- Misspelt library names: `md.fial` is followed through the tokens of the text, from the local that
-- holds the library, or one of its tables (`local json = md.json`).
--
-- `util` is LuaJIT's jit.util, which scripts do not see: moondial check passes it in, with a table
-- of the known names and two probes, functions that do nothing but read and write a global.

local check = require "moondial.check"
local locate = require "moondial.locate"
local names = require "moondial.names"
local tokens = require "moondial.tokens"

local lint = {}

local function opcode(util, probe, pc)
    return bit.band((util.funcbc(probe, pc)), 0xff)
end

-- The name in the constant that the instruction's D operand counts.
local function constant(util, func, ins)
    return util.funck(func, -bit.rshift(ins, 16) - 1)
end

local function visit(util, func, ops, found)
    local info = util.funcinfo(func)
    for pc = 1, info.bytecodes - 1 do
        local ins = util.funcbc(func, pc)
        local kind = ops[bit.band(ins, 0xff)]
        if kind then
            found[#found + 1] = { kind = kind, name = constant(util, func, ins),
                line = util.funcinfo(func, pc).currentline }
        end
    end
    for index = -1, -info.gcconsts, -1 do
        local child = util.funck(func, index)
        if type(child) == "proto" then
            visit(util, child, ops, found)
        end
    end
end

-- Lines of "assignment to undeclared variable 'x'" in the order of the file.
function lint.mistakes(util, func, known, reader, writer)
    local ops = { [opcode(util, reader, 1)] = "read", [opcode(util, writer, 2)] = "write" }
    local found, lines = {}, {}
    visit(util, func, ops, found)
    table.sort(found, function(a, b)
        return a.line < b.line
    end)
    for _, use in ipairs(found) do
        if use.kind == "write" or rawget(known, use.name) == nil then
            lines[#lines + 1] = ("%d: %s '%s'"):format(use.line, use.kind == "write"
                and "assignment to undeclared variable" or "undeclared variable", use.name)
        end
    end
    return lines
end

-- ---- names of the library --------------------------------------------------------------------

local function is(token, text)
    return token ~= nil and token.kind ~= "string" and token.text == text
end

-- How often each name is declared: by local, for, or as a parameter.
local function declarations(list)
    local count, at = {}, 1
    while list[at] do
        local last = is(list[at], "function") and ")" or is(list[at], "for") and "do" or "="
        if last ~= "=" or is(list[at], "local") then
            local line = list[at].line
            repeat
                at = at + 1
                local token = list[at]
                local stops = not token or is(token, last) or is(token, "in") or is(token, "=")
                    or is(token, "function") or (last == "=" and token.line > line)
                if not stops and token.kind == "name" then
                    count[token.text] = (count[token.text] or 0) + 1
                end
            until stops
        else
            at = at + 1
        end
    end
    return count
end

-- `NAME = require "moondial"` and `NAME = md.json`: the table of the library that NAME stands for.
local function alias_at(list, at, aliases)
    local name, first = list[at], list[at + 2]
    if name.kind ~= "name" or not is(list[at + 1], "=") or not is(list[at - 1], "local") then
        return nil
    end
    local module = is(list[at + 3], "(") and list[at + 4] or list[at + 3]
    local is_module = module and module.kind == "string" and module.text == "moondial"
    if is(first, "require") and is_module then
        return ""
    end
    local field = list[at + 4]
    local whole = field and not (is(list[at + 5], ".") or is(list[at + 5], "(")
        or is(list[at + 5], ":") or is(list[at + 5], "["))
    if first and aliases[first.text] == "" and is(list[at + 3], ".") and whole
        and names.of[field.text] then
        return field.text
    end
end

local function report(found, token, of, field)
    local shown = of == "" and "md" or "md." .. of
    found[#found + 1] = ("%d: %s has no '%s'%s"):format(token.line, shown, field.text,
        check.suggestion(field.text, names.of[of]))
end

-- The use of an alias at `at`: follows its fields as far as the library's tables go.
local function follow(list, at, of, found)
    while of and is(list[at + 1], ".") and list[at + 2] and list[at + 2].kind == "name" do
        local field = list[at + 2]
        if not names.of[of][field.text] then
            report(found, list[at], of, field)
            return
        end
        of = of == "" and names.of[field.text] and field.text or nil
        at = at + 2
    end
end

-- Lines of "md has no 'fial' (did you mean 'fail'?)" in the order of the file.
function lint.library(text)
    local list, aliases, found = tokens.of(text), {}, {}
    local declared = declarations(list)
    for at, token in ipairs(list) do
        local of = alias_at(list, at, aliases)
        if of and declared[token.text] == 1 then
            aliases[token.text] = of
        end
        local is_field = is(list[at - 1], ".") or is(list[at - 1], ":")
        if token.kind == "name" and aliases[token.text] and not is_field then
            follow(list, at, aliases[token.text], found)
        end
    end
    return found
end

-- ---- settings --------------------------------------------------------------------------------

local function mentions(texts, name)
    for _, text in ipairs(texts) do
        for _, token in ipairs(tokens.of(text)) do
            if token.text == name then
                return true
            end
        end
    end
    return false
end

-- Keys that only config.lua knows, that no script reads, and that are nearly one of the runtime's.
function lint.settings(own, builtin, texts, source)
    local lines = {}
    for _, name in ipairs(own) do
        local near = check.nearest(name, builtin, 2)
        if near and not mentions(texts, name) then
            lines[#lines + 1] = ("%d: unknown key '%s' (did you mean '%s'?)"):format(
                locate.line(source, name .. ": ") or 1, name, near)
        end
    end
    return lines
end

-- The script's own modules among all that were loaded, in order.
function lint.modules(loaded)
    local found = {}
    for name in pairs(loaded) do
        if name ~= "moondial" and not name:find("^moondial%.") then
            found[#found + 1] = name
        end
    end
    table.sort(found)
    return found
end

return lint
