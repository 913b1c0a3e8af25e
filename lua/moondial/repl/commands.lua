-- The commands of the REPL that begin with a colon. A row: what to write, what it does, and the
-- function (argument, request, repl) -> answer; see moondial/repl.lua for answers.

local native = require "moondial.native_repl"
local check = require "moondial.check"
local diff = require "moondial.repl.diff"
local helpers = require "moondial.repl.helpers"
local pretty = require "moondial.repl.pretty"

local commands = {}
local rows = {} -- in the order of :help

local function add(name, usage, help, run)
    rows[#rows + 1] = { name = name, usage = usage, help = help, run = run }
end

local function need(argument, usage, repl)
    if argument == "" then
        repl.fail("usage: " .. usage)
    end
    return argument
end

local function changed_files()
    return check.sorted_names(native.changed())
end

-- The files of an argument that may be empty: one, or all that were changed.
local function chosen_files(argument, repl)
    if argument == "" then
        return changed_files()
    elseif not native.changed()[argument] then
        repl.fail(argument .. " is not changed in this session")
    end
    return { argument }
end

-- ---- looking -------------------------------------------------------------------------------

add(":help", ":help", "this", function()
    local lines = {}
    for index, row in ipairs(rows) do
        lines[index] = ("  %-24s %s"):format(row.usage, row.help)
    end
    return { text = table.concat(lines, "\n") .. "\n  help() lists functions" }
end)

add(":time", ":time EXPR", "median and minimum time of an expression", function(code, request, repl)
    local chunk = repl.expression(need(code, ":time EXPR", repl))
    local first, second = native.checkpoints()
    local timing = helpers.time(function()
        return chunk(first, second)
    end)
    return { text = pretty.show(timing, repl.display(request)),
        value = request.json and timing or nil }
end)

add(":trace", ":trace [ID | slow]", "stages of a request, or recent ones",
    function(id, request, repl)
        local found = helpers.all().trace.run(id ~= "" and id or nil)
        return { text = pretty.show(found, repl.display(request)),
            value = request.json and found or nil }
    end)

add(":compare", ":compare EXPR", "its value with the files on disk and in this session",
    function(code, _, repl)
        repl.expression(need(code, ":compare EXPR", repl))
        native.compare(code)
        return {}
    end)

-- ---- private files -------------------------------------------------------------------------

add(":files", ":files", "the files of the scripts folder, changed ones marked",
    function(_, _, repl)
        local changed, lines = native.changed(), {}
        for index, file in ipairs(repl.files()) do
            lines[index] = (changed[file] and "* " or "  ") .. file
        end
        return { text = table.concat(lines, "\n") }
    end)

add(":edit", ":edit FILE", "this session's text of a file in $EDITOR", function(file, _, repl)
    return { edit = { file = need(file, ":edit FILE", repl), text = repl.text_of(file) } }
end)

add(":load", ":load PATH [FILE]", "take a file on this machine as FILE of this session",
    function(argument, _, repl)
        local path, file = argument:match("^(%S+)%s*(%S*)$")
        if not path then
            repl.fail("usage: :load PATH [FILE]")
        end
        return { load = { path = path, file = file ~= "" and file or path:match("[^/]+$") } }
    end)

local function disk_note(file, repl, paint)
    local now = native.on_disk(file)
    if now and repl.session.base[file] ~= now then
        return paint("bad", file .. " has changed on disk since; :write needs --force\n")
    end
    return ""
end

local function difference(files, request, repl)
    local paint, parts = pretty.painter(request.color), {}
    for index, file in ipairs(files) do
        parts[index] = disk_note(file, repl, paint)
            .. diff.unified(native.on_disk(file) or "", native.changed()[file], file, paint)
    end
    return (table.concat(parts):gsub("\n$", ""))
end

add(":diff", ":diff [FILE]", "what this session has changed", function(file, request, repl)
    local files = chosen_files(file, repl)
    return { text = #files == 0 and "(nothing is changed)" or difference(files, request, repl) }
end)

add(":revert", ":revert [FILE]", "back to what is on disk", function(file, _, repl)
    local files = chosen_files(file, repl)
    if #files == 0 then
        return { text = "(nothing is changed)" }
    end
    for _, name in ipairs(files) do
        repl.session.base[name] = nil
    end
    local note = repl.carry_variables()
    if file == "" then
        native.reset()
    else
        native.stage(file, nil)
    end
    return { text = "back to the files on disk: " .. table.concat(files, ", ") .. note }
end)

add(":write", ":write [FILE] [--yes]", "write it to the folder, which reloads the daemon",
    function(argument, request, repl)
        local force, yes = argument:find("--force", 1, true), argument:find("--yes", 1, true)
        local file = argument:gsub("%-%-%a+", ""):gsub("%s+", "")
        local files = chosen_files(file, repl)
        if #files == 0 then
            return { text = "(nothing is changed)" }
        end
        local seen = {}
        for _, name in ipairs(files) do
            seen[name] = native.on_disk(name)
        end
        repl.session.seen = seen
        local next_request = { op = "repl.write", files = files, force = force ~= nil }
        return { text = difference(files, request, repl),
            confirm = { question = "write " .. table.concat(files, ", ") .. "?", yes = yes ~= nil,
                next = next_request } }
    end)

local function check_unchanged(file, request, repl)
    local now = native.on_disk(file)
    if now ~= repl.session.seen[file] then
        repl.fail(file .. " has changed on disk this very moment; look at :diff again")
    elseif now ~= repl.session.base[file] and not request.force then
        repl.fail(file .. " has changed on disk since this session took it; look at :diff, then "
            .. ":write --force or :revert")
    end
end

-- The second half of :write, after the question.
function commands.write_now(request, repl)
    local changed = native.changed()
    for _, file in ipairs(request.files) do
        check_unchanged(file, request, repl)
    end
    for _, file in ipairs(request.files) do
        local written, why = native.write(file, changed[file])
        if not written then
            error(why)
        end
        repl.session.base[file] = nil
    end
    repl.carry_variables()
    if #request.files == #changed_files() then
        native.reset()
    else
        native.stage(request.files[1], nil)
    end
    return { text = "wrote " .. table.concat(request.files, ", "), reload = true }
end

add(":reset", ":reset", "a fresh state from the files on disk; variables are gone", function(_, _,
    repl)
    for file in pairs(repl.session.base) do
        repl.session.base[file] = nil
    end
    native.reset()
    return { text = "a fresh state" }
end)

add(":live", ":live on|off", "whether calls may change live data (off: dicts are private copies)",
    function(word, _, repl)
        if word ~= "" and word ~= "on" and word ~= "off" then
            repl.fail("usage: :live on|off")
        end
        local live = native.live(word ~= "" and word == "on" or nil)
        if word == "off" then
            live = native.live(false)
        end
        return { text = live and "calls change live data" or "live data is only read",
            live = live }
    end)

add(":quit", ":quit", "leave (so does Ctrl-D)", function()
    return { quit = true }
end)

-- ---- dispatch ------------------------------------------------------------------------------

function commands.names()
    local names = {}
    for index, row in ipairs(rows) do
        names[index] = row.name
    end
    return names
end

function commands.run(line, request, repl)
    local name, argument = line:match("^%s*(:%a*)%s*(.-)%s*$")
    for _, row in ipairs(rows) do
        if row.name == name then
            return row.run(argument, request, repl)
        end
    end
    repl.fail(("no command %s (:help lists them)"):format(tostring(name)))
end

return commands
