-- The names that a session of the REPL adds: short ways to what is live. They return plain data;
-- `__repl` in a metatable says how it is shown. None of them changes anything, except post().
--
-- A scripts folder adds its own with a repl.lua that returns { name = { run = function, help =
-- "name(arguments)  what it gives" } }.

local native = require "moondial.native_repl"
local md = require "moondial"
local pretty = require "moondial.repl.pretty"

local helpers = {}
local own = {} -- name: { run =, help = }

local function shown_as(value, show)
    return setmetatable(value, { __repl = show })
end

local function as_grid(rows, columns)
    return shown_as(rows, function(self, paint)
        if #self == 0 then
            return paint("dim", "(none)")
        end
        return pretty.grid(columns, self, paint)
    end)
end

-- ---- series --------------------------------------------------------------------------------

-- The series of that name, or the first that the app declares, with its description.
local function series_of(name)
    for _, series in ipairs(native.app().series) do
        if name == nil or series.name == name then
            return md.series(series.name), series
        end
    end
    error(name and ("app.lua declares no series '%s'"):format(name)
        or "app.lua declares no series", 3)
end

local function check_key(series, description, key)
    for _, known in ipairs(series:keys()) do
        if known == key then
            return key
        end
    end
    error(("series '%s' has no %s '%s'"):format(description.name, description.key,
        tostring(key)), 3)
end

own.servers = {
    help = "servers([series])  the entities of a series: how far they reach, when last seen",
    run = function(name)
        local series, description = series_of(name)
        local keys = series:keys()
        if #keys == 0 then
            return as_grid({}, {})
        end
        local lengths = series:lengths { keys = keys }
        local _, times = series:latest { keys = keys, columns = { description.columns[1].name } }
        local rows, columns = {}, { description.key, "steps", "last" }
        for index, key in ipairs(keys) do
            rows[index] = { [description.key] = key, steps = lengths[index],
                last = md.time.iso(times:get(index)) }
            for _, label in ipairs(description.labels) do
                rows[index][label] = series:label(key, label)
            end
        end
        for _, label in ipairs(description.labels) do
            columns[#columns + 1] = label
        end
        return as_grid(rows, columns)
    end,
}

own.window = {
    help = "window(key, column [, steps [, series]])  the closed steps of one column, a tensor",
    run = function(key, column, steps, name)
        local series, description = series_of(name)
        check_key(series, description, key)
        steps = math.min(steps or description.steps, description.steps)
        local values = series:window { keys = { key }, columns = { column }, steps = steps }
        return values:reshape { steps }
    end,
}

own.latest = {
    help = "latest(key [, series])  the newest value of every column",
    run = function(key, name)
        local series, description = series_of(name)
        check_key(series, description, key)
        local values, times = series:latest { keys = { key } }
        local row = { at = md.time.iso(times:get(1)) }
        for index, column in ipairs(description.columns) do
            local value = values:get(1, index)
            row[column.name] = value == value and tonumber(("%.7g"):format(value)) or nil
        end
        return row
    end,
}

-- ---- the service ---------------------------------------------------------------------------

own.models = {
    help = "models()  what is loaded",
    run = function()
        local rows = {}
        for index, info in ipairs(md.models.list()) do
            rows[index] = { name = info.name, version = info.version, path = info.path,
                parameters = info.parameters, backend = info.backend,
                loaded = md.time.iso(info.loaded_at_ms) }
        end
        return as_grid(rows, { "name", "version", "parameters", "backend", "loaded", "path" })
    end,
}

own.queues = {
    help = "queues()  calls that wait for a model; Lua states and the tasks on them",
    run = native.queues,
}

local function segments(path)
    local list = {}
    for segment in path:gmatch("[^/]+") do
        list[#list + 1] = segment
    end
    return list
end

-- The parameters when the path fits the pattern.
local function match(pattern, path)
    local want, have, found = segments(pattern), segments(path), {}
    if #want ~= #have then
        return nil
    end
    for index, segment in ipairs(want) do
        local name = segment:match("^{(.*)}$")
        if name then
            found[name] = have[index]
        elseif segment ~= have[index] then
            return nil
        end
    end
    return found
end

local function split_query(text)
    local query = {}
    for name, value in (text or ""):gmatch("([^&=]+)=([^&]*)") do
        query[name] = value
    end
    return query
end

-- JSON that was built once is looked into like any other answer.
local function readable(...)
    local results = { ... }
    for index, value in ipairs(results) do
        if native.class(value) == "blob" then
            results[index] = md.json.decode(value:text())
        end
    end
    return unpack(results, 1, select("#", ...))
end

local function call(method, target, body)
    local path, query = target:match("^([^?]*)%??(.*)$")
    for _, route in ipairs(native.app().routes) do
        local parameters = route.method == method and match(route.pattern, path)
        if parameters then
            return readable(route.run { method = method, path = parameters, url = path,
                query = split_query(query), headers = {}, body = body or "", remote = "repl",
                id = 0, json = function(self)
                    return md.json.decode(self.body)
                end })
        end
    end
    error(("no route %s %s"):format(method, path), 3)
end

own.get = {
    help = "get(path)  what this session's handler of the route returns",
    run = function(path)
        return call("GET", path)
    end,
}

own.post = {
    help = "post(path, body)  the same for POST; what it changes is private, or needs :live on",
    run = function(path, body)
        return call("POST", path, type(body) == "table" and md.json.encode(body) or body)
    end,
}

-- ---- requests ------------------------------------------------------------------------------

local BAR_WIDTH = 40

local function bar(stage, total_us)
    local from = math.floor(stage.at_us / total_us * BAR_WIDTH)
    local wide = math.max(1, math.floor(stage.took_us / total_us * BAR_WIDTH + 0.5))
    from = math.max(0, math.min(from, BAR_WIDTH - 1))
    return (" "):rep(from) .. ("█"):rep(math.min(wide, BAR_WIDTH - from))
end

local function show_trace(trace, paint)
    local lines = { paint("head", ("%s -> %d in %s"):format(trace.request, trace.status,
        pretty.seconds(trace.took_us / 1e6))) .. paint("dim", ("  %s  %s"):format(trace.id,
        md.time.iso(trace.begin_ms))) }
    for _, stage in ipairs(trace.stages) do
        lines[#lines + 1] = ("  %-16s %9s  %9s  %s"):format((" "):rep(2 * stage.depth)
            .. stage.stage, pretty.seconds(math.max(0, stage.at_us) / 1e6),
            pretty.seconds(stage.took_us / 1e6), paint("number", bar(stage, trace.took_us)))
    end
    if trace.cut then
        lines[#lines + 1] = paint("dim", "  (more stages than are kept)")
    end
    return table.concat(lines, "\n")
end

local function show_traces(traces, paint)
    local rows = {}
    for index, trace in ipairs(traces) do
        rows[index] = { id = trace.id, at = md.time.iso(trace.begin_ms), status = trace.status,
            took = pretty.seconds(trace.took_us / 1e6), request = trace.request }
    end
    return #rows == 0 and paint("dim", "(none)")
        or pretty.grid({ "id", "at", "status", "took", "request" }, rows, paint)
end

own.trace = {
    help = "trace([id | \"slow\"])  the stages of a request by its X-Request-Id; recent ones;"
        .. " slow and failed ones",
    run = function(id)
        if id == nil or id == "slow" then
            return shown_as(native.traces(20, id == "slow"), show_traces)
        end
        local text = type(id) == "number" and ("%x"):format(id) or tostring(id)
        local found = native.trace(text)
        if not found then
            error(("request %s is not among the recent ones (or the slow and failed ones)")
                :format(text), 2)
        end
        return shown_as(found, show_trace)
    end,
}

-- ---- time ----------------------------------------------------------------------------------

local RUNS_MIN, RUNS_MAX, SECONDS_MAX = 3, 1000, 1

local function show_timing(timing)
    return ("median %s  min %s  of %d runs"):format(pretty.seconds(timing.median_s),
        pretty.seconds(timing.min_s), timing.runs)
end

-- A fast function is called many times between two looks at the clock.
local function calls_per_run(seconds)
    return seconds < 1e-5 and math.ceil(2e-5 / math.max(seconds, 2e-8)) or 1
end

function helpers.time(run)
    local clock, took = os.clock, {}
    local started = clock()
    run()
    local calls = calls_per_run(clock() - started)
    repeat
        local from = clock()
        for _ = 1, calls do
            run()
        end
        took[#took + 1] = (clock() - from) / calls
    until #took >= RUNS_MAX or (#took >= RUNS_MIN and clock() - started > SECONDS_MAX)
    table.sort(took)
    return shown_as({ median_s = took[math.ceil(#took / 2)], min_s = took[1], runs = #took },
        show_timing)
end

own.time = {
    help = "time(function)  its median and minimum time; :time EXPR does it for an expression",
    run = function(run)
        if type(run) ~= "function" then
            error("time takes a function; :time EXPR takes an expression", 2)
        end
        return helpers.time(run)
    end,
}

-- ---- help ----------------------------------------------------------------------------------

function helpers.all()
    local all = {}
    for name, helper in pairs(own) do
        all[name] = helper
    end
    local service = native.modules().repl
    for name, helper in pairs(type(service) == "table" and service or {}) do
        all[name] = helper
    end
    return all
end

local INTRO = [[
An expression is evaluated, a statement run, in a Lua state that no request uses. Variables without
`local` stay; `_` is the last result; files of the scripts folder are there by their names.
`function risk.score(...) ... end` replaces that function of risk.lua in this session only: try it,
:compare it with what is on disk, :diff it, :write it. :help lists the commands that begin with ":".
]]

own.help = {
    help = "help([name])  this",
    run = function(name)
        local all, lines = helpers.all(), {}
        for known, helper in pairs(all) do
            if name == nil or name == known then
                lines[#lines + 1] = "  " .. helper.help
            end
        end
        if #lines == 0 then
            error(("no helper is named '%s'"):format(tostring(name)), 2)
        end
        table.sort(lines)
        local text = (name and "" or INTRO .. "\n") .. table.concat(lines, "\n")
        return shown_as({ text = text }, function()
            return text
        end)
    end,
}

-- ---- for showing and completing ------------------------------------------------------------

-- Pairs of numbers as one, for a narrow place.
local function halved(values)
    local pairs_of = {}
    for index = 1, #values, 2 do
        pairs_of[#pairs_of + 1] = (values[index] + (values[index + 1] or values[index])) / 2
    end
    return pairs_of
end

function helpers.describe_tensor(tensor, paint, depth)
    local shape = "[" .. table.concat(tensor.shape, ", ") .. "]"
    local head = paint("head", "tensor " .. tensor.dtype .. " " .. shape)
    if tensor.min then
        head = head .. ("  min %.6g  mean %.6g  max %.6g"):format(tensor.min, tensor.mean,
            tensor.max)
    end
    if tensor.nan > 0 then
        head = head .. paint("bad", ("  NaN %d"):format(tensor.nan))
    end
    local sparks = tensor.sparks
    if depth and depth > 0 and sparks then
        sparks = halved(sparks)
    end
    local spark = sparks and #sparks > 1 and pretty.sparkline(sparks)
    if depth and depth > 0 then
        return head .. (spark and "  " .. paint("number", spark) or "")
    end
    local first = {}
    for index, value in ipairs(tensor.first) do
        first[index] = ("%.6g"):format(value)
    end
    local more = tensor.count > #first and paint("dim", " ...") or ""
    local lines = { head, #first > 0 and "  " .. table.concat(first, " ") .. more or nil }
    if spark then
        lines[#lines + 1] = "  " .. paint("number", spark)
    end
    return table.concat(lines, "\n")
end

-- A table's fields or an object's methods, without calling anything of the script's.
function helpers.fields(value)
    if type(value) == "table" then
        local meta = getmetatable(value)
        if type(meta) == "table" and type(meta.__index) == "table" and next(value) == nil then
            return meta.__index
        end
        return native.behind(value)
    elseif type(value) == "string" then
        return native.behind(string)
    end
    return native.methods(value)
end

-- What is worth completing inside quotes: keys, columns, series, models, routes.
function helpers.texts()
    local texts = {}
    for _, series in ipairs(native.app().series) do
        texts[#texts + 1] = series.name
        for _, column in ipairs(series.columns) do
            texts[#texts + 1] = column.name
        end
        for _, key in ipairs(md.series(series.name):keys()) do
            texts[#texts + 1] = key
        end
    end
    for _, model in ipairs(native.app().models) do
        texts[#texts + 1] = model.name
    end
    for _, route in ipairs(native.app().routes) do
        texts[#texts + 1] = route.pattern
    end
    return texts
end

return helpers
