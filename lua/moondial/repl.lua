-- The REPL inside the daemon: one session, in a Lua state of its own. C hands requests to
-- repl.answer(request) and sends what it returns back; runtime/script/repl.h tells what a session
-- may do, commands.lua the commands that begin with a colon, helpers.lua the names it adds.
--
-- Requests: repl.eval { code, width, color, json }, repl.complete { line }, repl.replace { file,
-- text }, repl.write { files, force }, repl.difference { code, before }.
--
-- Answers have `text` to be shown, or `incomplete` when more lines are needed, or what the client
-- should do next: `quit`, `edit`, `load`, `confirm`, `reload`.

local native = require "moondial.native_repl"
local md = require "moondial"
local commands = require "moondial.repl.commands"
local complete = require "moondial.repl.complete"
local diff = require "moondial.repl.diff"
local helpers = require "moondial.repl.helpers"
local pretty = require "moondial.repl.pretty"
local source = require "moondial.repl.source"

local CHUNK = "=repl"
local PRINTED_MAX = 1000000 -- bytes that one request may print

local repl = {}

local session = {
    base = {},    -- file: its text on disk when this session first changed it
    printed = 0,
}

-- ---- names in reach ------------------------------------------------------------------------

local globals = native.globals()
local modules = {} -- of the scripts folder, by name
for name, value in pairs(native.modules()) do
    if not name:find("^moondial") and name ~= "app" and name ~= "repl" then
        modules[name] = value
    end
end

-- A helper may have the name of a file: then the name is both, to be called and to be looked into.
local function both(helper, module)
    return setmetatable({}, {
        __call = function(_, ...)
            return helper(...)
        end,
        __index = module, __newindex = module,
        __repl = function(_, paint)
            return pretty.show(module, { color = paint("head", "") ~= "" })
        end,
    })
end

local reach = { md = md, app = native.app() }

-- What an expression is wrapped in: `return f()` would be a tail call, and errors could not say
-- where it was.
function reach.__results(...)
    return ...
end

for name, module in pairs(modules) do
    reach[name] = module
end
for name, helper in pairs(helpers.all()) do
    local module = modules[name]
    reach[name] = type(module) == "table" and both(helper.run, module) or helper.run
end

function reach.print(...)
    local parts = {}
    for index = 1, select("#", ...) do
        parts[index] = tostring((select(index, ...)))
    end
    local line = table.concat(parts, "\t") .. "\n"
    session.printed = session.printed + #line
    if session.printed > PRINTED_MAX then
        error("more than a megabyte was printed", 2)
    end
    native.print(line)
end

local function lookup(name)
    local value = reach[name]
    if value == nil then
        value = rawget(globals, name)
    end
    return value
end

-- The session's variables are the table's own fields.
local vars = setmetatable({}, {
    __index = function(_, name)
        local value = lookup(name)
        if value == nil and name ~= "_" then
            error(("undeclared variable '%s'"):format(tostring(name)), 2)
        end
        return value
    end,
})
for name, value in pairs(native.carried()) do
    if name == "=base" then
        session.base = value
    else
        vars[name] = value
    end
end

-- ---- showing -------------------------------------------------------------------------------

local function describe(value, paint, depth)
    local class = native.class(value)
    if class == "tensor" then
        return helpers.describe_tensor(native.tensor(value), paint, depth)
    elseif class == "blob" then
        local text = value:text()
        return ("json of %s  %s"):format(pretty.bytes(#text), paint("dim", text:sub(1, 200)))
    elseif class then
        return paint("dim", "<" .. class .. ">")
    elseif value == md.json.null then
        return "null"
    end
end

local function display(request)
    return { width = request.width, color = request.color, describe = describe,
        where = native.where, behind = native.behind }
end

-- ---- running -------------------------------------------------------------------------------

local function fail(detail)
    error({ code = "INVALID_ARGUMENT", detail = detail }, 0)
end

-- The chunk of an expression or of statements; nil, true: it is not finished.
local function compile(code)
    local wrapped = "return __results(" .. code:gsub("^%s*=", "", 1)
    local expression = native.compile(wrapped .. (code:find("--", 1, true) and "\n)" or ")"),
        CHUNK, vars)
    if expression then
        return expression
    end
    local chunk, why = native.compile(code, CHUNK, vars)
    if chunk then
        return chunk
    elseif why:find("'<eof>'", 1, true) or why:find("unfinished", 1, true) then
        return nil, true, why
    end
    return nil, false, why
end

local function pack(...)
    return { count = select("#", ...), ... }
end

local function run(chunk)
    return pack(chunk(native.checkpoints()))
end

local function show_all(results, request)
    local texts = {}
    for index = 1, results.count do
        texts[index] = pretty.show(results[index], display(request))
    end
    return table.concat(texts, "\n")
end

-- One result is itself, several are an array: for --json.
local function plain(results)
    if results.count <= 1 then
        return results[1]
    end
    local list = md.json.array {}
    for index = 1, results.count do
        list[index] = results[index] == nil and md.json.null or results[index]
    end
    return list
end

local function evaluate(code, request)
    local chunk, incomplete, why = compile(code)
    if not chunk and incomplete and not request.whole then
        return { incomplete = true }
    elseif not chunk then
        fail(why)
    end
    local results = run(chunk)
    if results.count > 0 then
        vars._ = results[1]
    end
    local answer = { text = not request.json and show_all(results, request) or nil }
    if request.json then
        answer.value = plain(results)
        if answer.value == nil then
            answer.value = md.json.null
        end
    end
    return answer
end

-- ---- private files -------------------------------------------------------------------------

-- Variables live on in the state that is made from the changed files, unless they are functions.
local function carry_variables()
    local lost = {}
    for name, value in next, vars do
        if not native.carry(name, value) then
            lost[#lost + 1] = name
        end
    end
    native.carry("=base", session.base)
    table.sort(lost)
    return #lost > 0 and "\n(not kept: " .. table.concat(lost, ", ") .. ")" or ""
end

local function check_syntax(file, text)
    local chunk, why = native.compile(text, "@" .. file, vars)
    if not chunk then
        fail(why)
    end
end

local function stage(file, text)
    if file == "config.lua" then
        fail("config.lua takes effect when the daemon reloads, not in a session: edit the file")
    end
    check_syntax(file, text)
    local on_disk, why = native.on_disk(file)
    if not on_disk then
        fail(why.detail)
    end
    session.base[file] = session.base[file] or on_disk
    local note = carry_variables()
    native.stage(file, text ~= on_disk and text or nil)
    return note
end

-- The file's text as this session sees it.
local function text_of(file)
    local own = native.changed()[file]
    if own then
        return own
    end
    local text, why = native.on_disk(file)
    return text or fail(why.detail)
end

local function file_of(module)
    local path = module:gsub("%.", "/")
    return native.on_disk(path .. ".lua") and path .. ".lua" or path .. "/init.lua"
end

-- `function risk.score(...) ... end`, typed at the prompt, where risk is a file of the folder.
local function redefine(code)
    local module, field, separator, rest = source.definition(code)
    local table_of = module and rawget(vars, module) == nil and modules[module]
    if type(table_of) ~= "table" or not source.is_single(separator, rest, function(text)
        return native.compile(text, CHUNK, vars) ~= nil
    end) then
        return nil
    end
    local file, name = file_of(module), module .. separator .. field
    local text, why
    local old = rawget(table_of, field)
    if type(old) == "function" then
        local first, last
        file, first, last = native.where(old)
        text, why = source.replace(text_of(file), first, last, name, code)
    else
        text, why = source.insert(text_of(file), code)
    end
    if not text then
        fail(why .. "; use :edit " .. file)
    end
    local note = stage(file, text)
    return { text = ("%s: %s is %s in this session (:diff shows it, :write keeps it)%s"):format(
        file, name, old and "another one" or "new", note) }
end

-- ---- requests ------------------------------------------------------------------------------

local ops = {}

local function follow_note()
    local why = native.trouble()
    if why and session.told_trouble ~= why then
        session.told_trouble = why
        native.print(("(the files on disk do not load, this session has what serves: %s)\n"):format(
            why))
    end
    local own, current = native.generations()
    if own ~= current and session.told ~= current then
        session.told = current
        native.print(("(generation %d serves now, this session has %d; :reset follows)\n"):format(
            current, own))
    end
end

ops["repl.eval"] = function(request)
    follow_note()
    local code = request.code
    if code:find("^%s*:") then
        return commands.run(code, request, repl)
    elseif code:find("^%s*$") then
        return { text = "" }
    end
    return redefine(code) or evaluate(code, request)
end

-- What serves has changed: this state will be made anew.
ops["repl.follow"] = function()
    carry_variables()
    return {}
end

ops["repl.replace"] = function(request)
    local note = stage(request.file, request.text)
    return { text = ("%s is another one in this session (:diff shows it, :write keeps it)%s")
        :format(request.file, note) }
end

ops["repl.complete"] = function(request)
    local candidates, length = complete.line(request.line, {
        lookup = function(name)
            local own = rawget(vars, name)
            if own == nil then
                own = lookup(name)
            end
            return own
        end,
        names = function()
            local names = {}
            for _, set in ipairs { vars, reach, globals } do
                for name in next, set do
                    if name ~= "__results" then
                        names[#names + 1] = name
                    end
                end
            end
            return names
        end,
        fields = helpers.fields,
        texts = helpers.texts,
        files = repl.files,
        commands = commands.names(),
    })
    return { candidates = md.json.array(candidates), length = length }
end

ops["repl.write"] = function(request)
    return commands.write_now(request, repl)
end

ops["repl.difference"] = function(request)
    local answer = evaluate(request.code, request)
    local before, after = request.before or "", answer.text or ""
    if before == after then
        return { text = after .. "\n(no difference)" }
    end
    return { text = (diff.unified(before, after, nil, pretty.painter(request.color))
        :gsub("\n$", "")) }
end

-- ---- for commands.lua ----------------------------------------------------------------------

repl.session = session
repl.text_of = text_of
repl.display = display
repl.carry_variables = carry_variables
repl.fail = fail

-- The chunk of an expression, for commands that evaluate one.
function repl.expression(code)
    local chunk, _, why = compile(code)
    return chunk or fail(why)
end

-- Files of the scripts folder that are loaded.
function repl.files()
    local files = { "app.lua" }
    for module in pairs(modules) do
        files[#files + 1] = file_of(module)
    end
    table.sort(files)
    return files
end

function repl.answer(request)
    session.printed = 0
    return ops[request.op](request)
end

return repl
