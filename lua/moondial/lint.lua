-- Finds the names that a compiled file takes for global variables, by reading its bytecode: what
-- is none of the sandbox's names would raise only when its line is run.
--
-- `util` is LuaJIT's jit.util, which scripts do not see: moondial check passes it in, with a table
-- of the known names and two probes, functions that do nothing but read and write a global.

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

-- The script's own modules among all that were loaded, in order.
function lint.modules(loaded)
    local names = {}
    for name in pairs(loaded) do
        if name ~= "moondial" and not name:find("^moondial%.") then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    return names
end

return lint
