-- Tokens, lines of mistakes, and misspelt names of the library.

package.path = "tests/lib/?.lua;lua/?.lua;" .. package.path

local check = require "check"
local locate = require "moondial.locate"
local names = require "moondial.names"
local tokens = require "moondial.tokens"

names.note("", { get = 1, fail = 1, json = 1, log = 1, config = 1, series = 1 })
names.note("json", { encode = 1, decode = 1, null = 1 })
names.note("log", { info = 1, warn = 1 })
names.note("config", { port = 1, step_s = 1 })
local lint = require "moondial.lint"

local function texts(source)
    local list = {}
    for index, token in ipairs(tokens.of(source)) do
        list[index] = token.text .. "@" .. token.line
    end
    return table.concat(list, " ")
end

check.test("tokens", function()
    check.equal(texts "a = b.c -- no\n'x\\'y' .. [[p\nq]]",
        "a@1 =@1 b@1 .@1 c@1 x\\'y@2 ..@2 p\nq@2")
    check.equal(texts "--[==[ a\n]] b ]==] c ~= 0x1F", "c@2 ~=@2 0x1F@2")
    check.equal(texts "'open\nnext", "open@1 next@2")
    check.equal(texts "", "")
end)

local APP = [[
local md = require "moondial"
local function f() return { 1, 2 }, 3 end
local timers = {
    { name = "a", every_s = 5, run = function() if x then return { y = 1 } end end },
    { name = "b",
      every_sec = 5, run = f },
}
return md.app {
    name = "t",
    rutes = {},
    timers = timers,
    series = {
        cpu = { key = "k", columns = {
            { name = "u" },
            { name = "v", knd = "max" } } },
    },
    ["models"] = { tft = { path = 7 } }; on_start = 5,
}
]]

check.test("lines of mistakes", function()
    local cases = {
        ["app: unknown key 'rutes' (did you mean 'routes'?)"] = 10,
        ["timers[2]: unknown key 'every_sec'"] = 6,
        ["timers[2]: 'every_s' is missing"] = 5,
        ["timers[1]: every_s must be between 0.01 and 86400"] = 4,
        ["series.cpu.columns[2]: unknown key 'knd'"] = 15,
        ["series.cpu: 'time' is missing"] = 13,
        ["models.tft: 'path' must be a string"] = 17,
        ["app: 'on_start' must be a function, not a number"] = 17,
        ["app: 'version' must be a string"] = nil,
    }
    for mistake, line in pairs(cases) do
        check.equal(locate.line(APP, mistake), line, mistake)
    end
    check.equal(locate.line("local LIMITS = {\n a = { b = 1 },\n}\nreturn f()", "LIMITS.a: b"), 2)
    check.equal(locate.line("return { a = 1,\n b = 2 }", "b: must be 3"), 2)
    check.equal(locate.line("x = {", "x.y: z"), nil)
    check.equal(locate.line("md.get('/a', f)\nmd.get('/a', g)", "route GET /a: declared twice"), 2)
end)

local function found(source)
    return table.concat(lint.library(source), "; ")
end

check.test("names of the library", function()
    check.equal(found "local md = require 'moondial'\nmd.fial()",
        "2: md has no 'fial' (did you mean 'fail'?)")
    check.equal(found "local m = require('moondial')\nreturn m.log.inof, m.log.info",
        "2: md.log has no 'inof' (did you mean 'info'?)")
    check.equal(found "local md = require 'moondial'\nlocal j = md.json\nj.encod(j.null)",
        "3: md.json has no 'encod' (did you mean 'encode'?)")
    check.equal(found "local md = require 'moondial'\nreturn md.config.prot",
        "2: md.config has no 'prot' (did you mean 'port'?)")
    check.equal(found "local md = require 'moondial'\nreturn md.series 'x'.anything, a.md.fial", "")
    check.equal(found "local md = require 'moondial'\nlocal function f(md) return md.fial end", "")
    check.equal(found "local md = {}\nreturn md.fial", "")
    check.equal(found "local a, md = 1, require 'moondial'\n-- md.fial\nreturn 'md.fial'", "")
end)

check.test("no text is too broken", function()
    local mistakes = { "timers[2]: unknown key 'every_sec'", "series.cpu.columns[2]: x", "app: y",
        "route GET /a: z", "", "no form at all", "a.b.c[1][2].d: e" }
    for stop = 0, #APP do
        local head, tail = APP:sub(1, stop), APP:sub(stop + 1)
        lint.library(head)
        lint.library(tail)
        local mistake = mistakes[stop % #mistakes + 1]
        locate.line(head, mistake)
        locate.line(tail, mistake)
    end
end)

check.test("settings", function()
    local builtin = { handler_budget_ms = true, port = true, states = true }
    local source = "return {\n  handler_bugdet_ms = 5,\n  prot = 1,\n step_s = 3 }"
    local lines = lint.settings({ "handler_bugdet_ms", "prot", "step_s" }, builtin,
        { "return md.config.prot" }, source)
    check.equal(table.concat(lines, "; "),
        "2: unknown key 'handler_bugdet_ms' (did you mean 'handler_budget_ms'?)")
end)

check.finish()
