-- The app description: md.app { name = "fleet", routes = { ... }, ... }
--
-- Checks what the script declares and completes it to the form that the C side reads: lists with
-- names instead of maps, defaults filled in, functions under `run`.

local alerts = require "moondial.alerts"
local check = require "moondial.check"
local gpus = require "moondial.gpus"
local native = require "moondial.native"

local APP = {
    name = { "string", required = true },
    version = { "string", default = "" },
    health = { "map", default = {} },
    series = { "map", default = {} },
    models = { "map", default = {} },
    routes = { "list", default = {} },
    timers = { "list", default = {} },
    alerts = { "map" },
    on_tick = { "table" },
    on_start = { "function" },
}

local TIMER = {
    name = { "string", required = true },
    every_s = { "number", required = true },
    run = { "function", required = true },
}

local TICK = {
    series = { "string", required = true },
    run = { "function", required = true },
}

local MODEL = {
    path = { "string", required = true },
    optional = { "boolean", default = false },
    precision = { "string" },
    batch_max = { "number" },
}

local PRECISIONS = { auto = true, fp32 = true, fp16 = true, bf16 = true }
local BATCH_MAX = 65536

local SERIES = {
    key = { "string", required = true },
    time = { "string", required = true },
    step_s = { "number", required = true },
    steps = { "number", required = true },
    columns = { "list", required = true },
    labels = { "list", default = {} },
    entities_max = { "number", default = 1000 },
    late_max_min = { "number", default = 60 },
    future_max_min = { "number", default = 5 },
    evict_after_min = { "number", default = 1440 },
    grace_s = { "number", default = 10 },
}

local COLUMN = {
    name = { "string", required = true },
    kind = { "string", default = "mean" },
    min = { "number" },
    max = { "number" },
    values = { "list" },
    required = { "boolean", default = false },
    integer = { "boolean", default = false },
}

local KINDS = { mean = true, max = true, last = true }

local function check_routes(given, mistakes)
    local seen = {}
    for index, route in ipairs(given) do
        local ok = type(route) == "table" and type(route.run) == "function" and route.method
        if not ok then
            mistakes[#mistakes + 1] = ("routes[%d]: use md.get, md.post, md.put or md.delete")
                :format(index)
        else
            local shape = route.method .. " " .. route.pattern:gsub("{[^}]*}", "{}")
            if seen[shape] then
                mistakes[#mistakes + 1] = ("route %s %s: declared twice"):format(route.method,
                    route.pattern)
            end
            seen[shape] = true
        end
    end
    return given
end

local function check_timers(given, mistakes)
    local timers = {}
    for index, timer in ipairs(given) do
        local what = ("timers[%d]"):format(index)
        timers[index] = check.fields(what, timer, TIMER, mistakes)
        local every_s = timers[index].every_s
        if type(every_s) == "number" and not (every_s >= 0.01 and every_s <= 86400) then
            mistakes[#mistakes + 1] = what .. ": every_s must be between 0.01 and 86400"
        end
    end
    return timers
end

-- How a model runs: what the service says of it, and how many rows of a batch a GPU begins with.
local function check_profile(what, model, mistakes)
    local precision, rows = model.precision, model.batch_max
    if type(precision) == "string" and not PRECISIONS[precision] then
        mistakes[#mistakes + 1] = ("%s: precision '%s' is not auto, fp32, fp16 or bf16")
            :format(what, precision)
    end
    if type(rows) == "number" and not (rows >= 1 and rows <= BATCH_MAX and rows % 1 == 0) then
        mistakes[#mistakes + 1] = ("%s: batch_max is not a whole number from 1 to %d")
            :format(what, BATCH_MAX)
    end
    model.gpu_batch_max = gpus.rows(native.gpu())
end

local function check_models(given, mistakes)
    local models = {}
    for index, name in ipairs(check.sorted_names(given)) do
        local what = "models." .. name
        models[index] = check.fields(what, given[name], MODEL, mistakes)
        models[index].name = name
        check_profile(what, models[index], mistakes)
    end
    return models
end

local function check_columns(what, given, mistakes)
    local columns = {}
    for index, column in ipairs(given) do
        local checked = check.fields(("%s.columns[%d]"):format(what, index), column, COLUMN,
            mistakes)
        if type(checked.kind) == "string" and not KINDS[checked.kind] then
            mistakes[#mistakes + 1] = ("%s.columns[%d]: kind '%s' is not mean, max or last")
                :format(what, index, checked.kind)
        end
        columns[index] = checked
    end
    return columns
end

local function check_series(given, mistakes)
    local series = {}
    for index, name in ipairs(check.sorted_names(given)) do
        local what = "series." .. name
        local checked = check.fields(what, given[name], SERIES, mistakes)
        checked.name = name
        local columns = type(checked.columns) == "table" and checked.columns or {}
        checked.columns = check_columns(what, columns, mistakes)
        series[index] = checked
    end
    return series
end

local function check_tick(given, series, mistakes)
    if given == nil then
        return nil
    end
    local tick = check.fields("on_tick", given, TICK, mistakes)
    for _, candidate in ipairs(series) do
        if candidate.name == tick.series then
            tick.step_s, tick.grace_s = candidate.step_s, candidate.grace_s
            return tick
        end
    end
    mistakes[#mistakes + 1] = ("on_tick: no series is named '%s'"):format(tostring(tick.series))
    return tick
end

local function nothing() end

-- Rules are evaluated when a step has closed, after on_tick; so alerts without an on_tick have one
-- that does nothing.
local function tick_for_alerts(tick, described, mistakes)
    if described == nil then
        return tick
    elseif tick == nil then
        return { series = described.series, run = nothing, step_s = described.step_s,
            grace_s = described.grace_s }
    elseif tick.series ~= described.series then
        mistakes[#mistakes + 1] = "alerts: 'series' is not that of on_tick"
    end
    return tick
end

local app = {}

function app.describe(given)
    local mistakes, lines = {}, {}
    local checked = check.fields("app", given, APP, mistakes)
    for name in pairs { routes = 1, timers = 1, models = 1, series = 1 } do
        if type(checked[name]) ~= "table" then
            checked[name] = {} -- told already
        end
    end
    checked.routes = check_routes(checked.routes, mistakes)
    checked.timers = check_timers(checked.timers, mistakes)
    checked.models = check_models(checked.models, mistakes)
    checked.series = check_series(checked.series, mistakes)
    checked.on_tick = check_tick(checked.on_tick, checked.series, mistakes)
    checked.alerts = alerts.describe(checked.alerts, checked.series, mistakes, lines)
    checked.on_tick = tick_for_alerts(checked.on_tick, checked.alerts, mistakes)
    for index, line in ipairs(check.lines(mistakes, "app.lua")) do
        table.insert(lines, index, line)
    end
    if #lines > 0 then
        error(table.concat(lines, "\n"), 0)
    end
    if checked.on_start then
        checked.on_start = { run = checked.on_start }
    end
    checked.is_app = true
    return checked
end

return app
