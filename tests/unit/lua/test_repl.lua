-- The pure parts of the REPL: how values are shown, differences of texts, completion, and putting a
-- function's new text into its file.

package.path = "tests/lib/?.lua;lua/?.lua;" .. package.path

local check = require "check"
local complete = require "moondial.repl.complete"
local diff = require "moondial.repl.diff"
local pretty = require "moondial.repl.pretty"
local source = require "moondial.repl.source"

-- ---- pretty --------------------------------------------------------------------------------

check.test("scalars are shown as Lua would write them", function()
    check.equal(pretty.show(nil), "nil")
    check.equal(pretty.show(true), "true")
    check.equal(pretty.show(1), "1")
    check.equal(pretty.show(0.1), "0.1")
    check.equal(pretty.show(1e300), "1e+300")
    check.equal(pretty.show(0 / 0), "nan")
    check.equal(pretty.show(-math.huge), "-inf")
    check.equal(pretty.show("a\"b\\c\n"), [["a\"b\\c\n"]])
    check.equal(pretty.show("\27[31m\0\127"), [["\027[31m\000\127"]])
    check.equal(pretty.show(print), "function")
    check.equal(pretty.show(coroutine.create(print)), "<thread>")
end)

check.test("keys are sorted, numbers before names, and quoted when they must be", function()
    check.equal(pretty.show { b = 1, a = 2, [10] = 3, ["a b"] = 4, [true] = 5, ["end"] = 6 },
        [[{ [10] = 3, a = 2, ["a b"] = 4, b = 1, ["end"] = 6, [true] = 5 }]])
    check.equal(pretty.show { 1, 2, nil, 4 }, "{ 1, 2, nil, 4 }")
    check.equal(pretty.show {}, "{}")
end)

check.test("what does not fit a line has a line an entry", function()
    local text = pretty.show({ name = ("x"):rep(30), other = ("y"):rep(30) }, { width = 60 })
    check.equal(text, ("{\n    name = \"%s\",\n    other = \"%s\"\n}"):format(("x"):rep(30),
        ("y"):rep(30)))
    local numbers = {}
    for index = 1, 40 do
        numbers[index] = 1000 + index
    end
    for line in pretty.show(numbers, { width = 60 }):gmatch("[^\n]+") do
        check.truth(#line <= 60, line)
    end
end)

check.test("depth, entries, strings and the whole are bounded", function()
    check.equal(pretty.show({ { { 1 } } }, { depth = 2 }), "{ { {...} } }")
    check.equal(pretty.show({ { {} } }, { depth = 2 }), "{ { {} } }")
    local many = {}
    for index = 1, 1000 do
        many[index] = index
    end
    check.truth(pretty.show(many, { entries = 3 }):find("... 997 more", 1, true), "997 more")
    check.equal(pretty.show(("x"):rep(50), { text = 10 }), '"xxxxxxxxxx" ... 50 bytes')
    check.equal(pretty.show("ééé", { text = 3 }), '"é" ... 6 bytes')
    local tree = {}
    for index = 1, 60 do
        tree[index] = { many, many, many }
    end
    check.truth(#pretty.show(tree, { values = 500 }) < 20000, "bounded")
end)

check.test("cycles end", function()
    local loop = { name = "a" }
    loop.self = loop
    check.equal(pretty.show(loop), '{ name = "a", self = <cycle> }')
    local shared = { 1 }
    check.equal(pretty.show { shared, shared }, "{ { 1 }, { 1 } }")
end)

check.test("colours come only when wanted, and take no room", function()
    check.truth(not pretty.show({ "a", 1 }):find("\27"), "plain")
    local text = pretty.show({ "a", 1 }, { color = true })
    check.truth(text:find("\27[32m\"a\"\27[0m", 1, true), text)
    check.equal(pretty.width(text), #"{ \"a\", 1 }")
    check.equal(pretty.width("▁é"), 2)
end)

check.test("metatables of scripts are not called, those of the REPL are", function()
    local trap = setmetatable({ 1 }, { __index = function() error("called") end,
        __tostring = function() error("called") end, __len = function() error("called") end })
    check.equal(pretty.show(trap), "{ 1 }")
    check.equal(pretty.show(setmetatable({}, { __repl = function() return "mine" end })), "mine")
end)

check.test("objects, functions and read-only faces are described by whoever knows them", function()
    local options = { describe = function(value) return "a " .. type(value) end,
        where = function() return "risk.lua", 80 end,
        behind = function(value) return next(value) == nil and { hidden = 1 } or value end }
    check.equal(pretty.show(coroutine.create(print), options), "a thread")
    check.equal(pretty.show(check.test, options), "function (risk.lua:80)")
    check.equal(pretty.show({}, options), "{ hidden = 1 }")
end)

check.test("a sparkline spans its values", function()
    check.equal(pretty.sparkline { 0, 7, 0 / 0, 3.5 }, "▁█ ▅")
    check.equal(pretty.sparkline { 5, 5 }, "▁▁")
    check.equal(pretty.sparkline {}, "")
    check.equal(pretty.sparkline { 0 / 0 }, " ")
end)

check.test("grids align, numbers to the right", function()
    local paint = pretty.painter(false)
    check.equal(pretty.grid({ "name", "n" }, { { name = "a", n = 1 }, { name = "long", n = 22 } },
        paint), "name   n\na      1\nlong  22")
    check.truth(pretty.grid({ "n" }, { { n = 1 }, { n = 2 }, { n = 3 } }, paint, 1)
        :find("... 2 more", 1, true), "limit")
end)

check.test("amounts read well", function()
    check.equal(pretty.bytes(999), "999 B")
    check.equal(pretty.bytes(463000), "463.0 KB")
    check.equal(pretty.seconds(0.0000123), "12.3 us")
    check.equal(pretty.seconds(5e-9), "5 ns")
    check.equal(pretty.seconds(2), "2 s")
end)

-- ---- diff ----------------------------------------------------------------------------------

local function numbered(from, to)
    local lines = {}
    for number = from, to do
        lines[#lines + 1] = "line " .. number
    end
    return table.concat(lines, "\n") .. "\n"
end

check.test("equal texts have no difference", function()
    check.equal(diff.unified("a\nb\n", "a\nb\n", "x"), "")
    check.equal(diff.unified("", "", "x"), "")
end)

check.test("a change has three lines of context", function()
    local before = numbered(1, 20)
    check.equal(diff.unified(before, (before:gsub("line 10\n", "line ten\n")), "f.lua"), [[
--- a/f.lua
+++ b/f.lua
@@ -7,7 +7,7 @@
 line 7
 line 8
 line 9
-line 10
+line ten
 line 11
 line 12
 line 13
]])
end)

check.test("changes far apart are hunks of their own, near ones share", function()
    local before = numbered(1, 40)
    local far = before:gsub("line 5\n", ""):gsub("line 30\n", "line 30\nmore\n")
    local _, hunks = diff.unified(before, far):gsub("@@ %-", "")
    check.equal(hunks, 2)
    local near = before:gsub("line 5\n", ""):gsub("line 9\n", "")
    _, hunks = diff.unified(before, near):gsub("@@ %-", "")
    check.equal(hunks, 1)
end)

check.test("beginnings, ends and empty texts", function()
    check.equal(diff.unified("", "a\n"), "@@ -0,0 +1 @@\n+a\n")
    check.equal(diff.unified("a\n", ""), "@@ -1 +0,0 @@\n-a\n")
    check.equal(diff.unified("a\n", "b\na\n"), "@@ -1 +1,2 @@\n+b\n a\n")
    check.equal(diff.unified("a", "b"), "@@ -1 +1 @@\n-a\n+b\n")
end)

-- What the edits keep and add is the new text, what they keep and drop the old one.
check.test("edits lead from one text to the other", function()
    local random = 7
    local function letter()
        random = (random * 1103515245 + 12345) % 2147483648
        return string.char(97 + math.floor(random / 65536) % 3)
    end
    for _ = 1, 200 do
        local a, b = {}, {}
        for index = 1, 12 do
            a[index], b[index] = letter(), letter()
        end
        local old, new = {}, {}
        for _, edit in ipairs(diff.edits(a, b)) do
            if edit.kind ~= "+" then
                old[#old + 1] = edit.text
            end
            if edit.kind ~= "-" then
                new[#new + 1] = edit.text
            end
        end
        check.equal(table.concat(old), table.concat(a))
        check.equal(table.concat(new), table.concat(b))
    end
end)

-- ---- completion ----------------------------------------------------------------------------

local live = { tensor = { zeros = print, shape = print }, alerts = { print }, config = { a_b = 1 } }
local methods = { window = print, keys = print, length = 7 }
local object = setmetatable({}, { __index = function() error("called") end })

local world = {
    lookup = function(name)
        return ({ md = live, hosts = object })[name]
    end,
    names = function()
        return { "md", "hosts", "models", "print", 7 }
    end,
    fields = function(value)
        if value == object then
            return methods
        end
        return type(value) == "table" and value or nil
    end,
    texts = function()
        return { "web1", "web2", "cpu user" }
    end,
    files = function()
        return { "risk.lua", "routes.lua" }
    end,
    commands = { ":diff", ":help", ":write" },
}

local function completed(line)
    local candidates, length = complete.line(line, world)
    return table.concat(candidates, " ") .. "/" .. length
end

check.test("names, fields, methods", function()
    check.equal(completed("m"), "md models/1")
    check.equal(completed("x = mo"), "models/2")
    check.equal(completed("wh"), "while/2")
    check.equal(completed("md."), "alerts config tensor/0")
    check.equal(completed("print(md.tensor.z"), "zeros/1")
    check.equal(completed("md.config.a"), "a_b/1")
    check.equal(completed("hosts:"), "keys window/0")
    check.equal(completed("hosts:w"), "window/1")
    check.equal(completed("nosuch.a"), "/1")
    check.equal(completed("md.nosuch.a"), "/1")
end)

check.test("texts in quotes, commands, files", function()
    check.equal(completed("window('we"), "web1 web2/2")
    check.equal(completed('f("a", "cpu u'), "cpu user/5")
    check.equal(completed('f("a") + m'), "md models/1")
    check.equal(completed(":di"), ":diff/3")
    check.equal(completed(":"), ":diff :help :write/1")
    check.equal(completed(":edit r"), "risk.lua routes.lua/1")
    check.equal(completed(":time mo"), "models/2")
end)

-- ---- source --------------------------------------------------------------------------------

local FILE = [[
local risk = {}

local function helper() return 1 end

-- The score.
function risk.score(a, b)
    return a + b
end

function risk.one() return helper() end

return risk
]]

local function compiles(text)
    return loadstring(text) ~= nil
end

local function defined(code)
    local module, field, separator, rest = source.definition(code)
    return module and source.is_single(separator, rest, compiles)
        and module .. separator .. field or nil
end

check.test("a definition is one function and nothing else", function()
    check.equal(defined("function risk.score(a)\n return a\nend"), "risk.score")
    check.equal(defined("  function risk:score() return self end"), "risk:score")
    check.equal(defined("function risk:score(a, b) return self end"), "risk:score")
    check.equal(defined("function f() end"), nil)
    check.equal(defined("function risk.a.b() end"), nil)
    check.equal(defined("function risk.score() end print(1)"), nil)
    check.equal(defined("risk.score = function() end"), nil)
    check.equal(defined("risk.score(1)"), nil)
end)

check.test("the text of a function is replaced, its surroundings stay", function()
    local text = source.replace(FILE, 6, 8, "risk.score", "\nfunction risk.score(a)\n    return a\n"
        .. "end\n\n")
    check.equal(text, (FILE:gsub("function risk.score.-\nend", "function risk.score(a)\n"
        .. "    return a\nend", 1)))
    check.truth(compiles(text), "compiles")
    text = source.replace(FILE, 10, 10, "risk.one", "function risk.one() return 2 end")
    check.truth(text:find("\nfunction risk.one() return 2 end\n\nreturn risk\n", 1, true), text)
end)

check.test("what is not that function's definition is refused", function()
    for _, case in ipairs { { 5, 8, "risk.score" }, { 6, 8, "risk.other" }, { 6, 7, "risk.score" },
        { 99, 100, "risk.score" }, { 3, 3, "risk.helper" } } do
        local text, why = source.replace(FILE, case[1], case[2], case[3], "function x() end")
        check.equal(text, nil)
        check.truth(why:find(case[3], 1, true), why)
    end
end)

check.test("a new function goes before the last return", function()
    local text = source.insert(FILE, "function risk.two()\n    return 2\nend")
    local want = "end\n\nfunction risk.two()\n    return 2\nend\n\nreturn risk\n"
    check.truth(text:find(want, 1, true), text)
    check.equal((source.insert("x = 1\n", "function risk.two() end")), nil)
    check.equal((source.insert("returned = 1\n", "function risk.two() end")), nil)
end)

check.finish()
