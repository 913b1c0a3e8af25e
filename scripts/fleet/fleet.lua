-- The state that all requests share: the current forecast, and the answer made of it.
--
-- Data flows one way: windows -> forecast -> alert rules, at the tick only -> answer. When a step
-- has closed, app.lua has the fleet forecast, the rules are evaluated on that forecast, and the
-- answer is built with the alerts that they gave. Between ticks a changed forecast gives another
-- answer with the alerts of the last tick: alerts change with the steps.
--
-- Whoever asks first after something changed builds the forecast or the answer; the others wait for
-- that one. What counts as a change: a step has closed, a server is new, another model has been
-- loaded, these scripts have been edited, the cache has been cleared, rules have been evaluated, or
-- a late row has altered a closed step. Late rows may come all the time, so they count only when
-- the last answer is ten times as old as it took to build.

local md = require "moondial"
local active = require "active"
local asked = require "asked"
local document = require "document"
local forecast = require "forecast"
local metrics = require "metrics"

-- Decimals of numbers in the answer; those of forecasts are config.forecast_decimals.
local DECIMALS = 4

-- A late row waits until the last answer is this many times as old as it took to build.
local PATIENCE = 10

local SERVERS = md.metrics.gauge("fleet_servers", "Servers in the current forecast, by model",
    { "model" })
local ALERTS = md.metrics.gauge("fleet_alerts", "Alerts of the current forecast", { "severity" })
local INCIDENT = md.metrics.gauge("fleet_incident_probability", "Probability of an incident",
    { "within" })
local RECORDS = md.metrics.counter("fleet_records_total", "Records received", { "outcome" })

local fleet = {}

local function shared()
    return md.dict "fleet"
end

function fleet.servers()
    return md.series "servers"
end

-- Two texts which change whenever the forecast would: for what must be told at once, and with the
-- late rows.
local function forecast_versions()
    local servers, model = fleet.servers(), md.model "tft"
    local loaded = model:loaded() and model:info().loaded_at_ms or 0
    local urgent = table.concat({ servers:closed_ms(), servers:count(), loaded,
        md.generation(), shared():get "clears" or 0 }, ":")
    local all = urgent .. ":" .. servers:version()
    local last = shared():get "last"
    if last and last.urgent == urgent and md.now_ms() - last.at_ms < PATIENCE * last.took_ms then
        all = last.all
    end
    return urgent, all
end

-- Counts of `list` entries by what `kind_of` says, with every one of `kinds`.
local function show_counts(gauge, kinds, list, kind_of)
    local counts = {}
    for _, entry in ipairs(list) do
        local kind, size = kind_of(entry)
        counts[kind] = (counts[kind] or 0) + (size or 1)
    end
    for _, kind in ipairs(kinds) do
        gauge:set(counts[kind] or 0, kind)
    end
end

-- For /metrics.
local function show(made, whole, alerts)
    show_counts(SERVERS, { "tft", "trend" }, made.groups, function(group)
        return group.model, #group.names
    end)
    show_counts(ALERTS, { "critical", "warning" }, alerts, function(alert)
        return alert.severity
    end)
    INCIDENT:set(whole.environment.prob_30m, "30m")
    INCIDENT:set(whole.environment.prob_8h, "8h")
end

local function build_forecast(urgent, all)
    local started_ms = md.now_ms()
    local made = forecast.fleet()
    made.version, made.model = all, made.model and { path = made.model.path }
    local at_ms = md.now_ms()
    made.took_ms = at_ms - started_ms
    shared():set("last", { urgent = urgent, all = all, at_ms = at_ms, took_ms = made.took_ms })
    return made
end

local function forecast_of(urgent, all)
    return shared():fetch("forecast", all, function()
        return build_forecast(urgent, all)
    end)
end

-- The current forecast, as forecast.fleet makes it, or nil and an error.
function fleet.forecast()
    return forecast_of(forecast_versions())
end

-- The alerts that fire, as dashboards read them; other states by name.
function fleet.alerts(state)
    return active.of(md.alerts.active { state = state or "firing" })
end

-- What the rules look at, of the current forecast: every metric's quantiles that a rule watches or
-- that are kept for rehearsals (app.lua).
function fleet.channels(tick)
    local made, why = fleet.forecast()
    if not made then
        return nil, why
    end
    local list = {}
    for _, group in ipairs(made.groups) do
        local servers, steps = group.p50:dim(1), group.p50:dim(3)
        for index, metric in ipairs(metrics) do
            for field, quantile in pairs(forecast.SHOWN) do
                if tick.wants(metric.name, quantile) then
                    list[#list + 1] = { column = metric.name, quantile = quantile,
                        step_s = md.config.step_s, keys = group.names,
                        values = group[field]:slice(2, index, index):tensor()
                            :reshape { servers, steps } }
                end
            end
        end
    end
    return list
end

local function as_text(value)
    return md.json.blob(value, { decimals = DECIMALS })
end

local function build_answer(made)
    local started_ms = md.now_ms()
    local alerts = fleet.alerts()
    local whole = document.of(made, alerts, fleet.servers():stats().samples)
    show(made, whole, alerts)
    local answer = { document = as_text(whole), beside = {},
        alert_count = #alerts, made_at = whole.metadata.prediction_time }
    whole.predictions = nil
    for name, part in pairs(whole) do
        answer.beside[name] = as_text(part)
    end
    local took_ms = md.now_ms() - started_ms + made.took_ms
    local last = shared():get "last"
    if last and last.all == made.version then
        last.took_ms = took_ms
        shared():set("last", last)
    end
    md.log.info("forecast of %d servers, %d alerts, %d KB in %d ms", whole.summary.total_servers,
        #alerts, #answer.document / 1024, took_ms)
    return answer
end

-- { document = blob, beside = { blobs of what stands beside the predictions }, alert_count =,
-- made_at = } or nil and an error.
function fleet.answer()
    local urgent, all = forecast_versions()
    return shared():fetch("answer", all .. ":" .. md.alerts.evaluated_ms(), function()
        local made, why = forecast_of(urgent, all)
        if not made then
            return nil, why
        end
        return build_answer(made)
    end)
end

-- The answer to a query that asks for less (asked.lua): predictions of what it names, and beside
-- them what is said of the whole fleet. Or nil and an error; `error.field` is what is wrong with
-- the query.
function fleet.answer_less(query)
    local answer, why = fleet.answer()
    if not answer then
        return nil, why
    end
    local made, wanted
    made, why = fleet.forecast()
    if not made then
        return nil, why
    end
    wanted, why = asked.of(query, made)
    if not wanted then
        return nil, why
    end
    local less = { predictions = document.predictions(made, wanted) }
    for name, part in pairs(answer.beside) do
        less[name] = part
    end
    return as_text(less)
end

-- Stores what the model said at this step.
function fleet.keep(made)
    for _, entry in ipairs(made.raw) do
        entry.model, entry.step_s = "tft", md.config.step_s
        entry.made_at_ms, entry.start_ms = made.made_at_ms, made.end_ms
        local kept, why = md.forecasts.put(entry)
        if not kept then
            md.log.warn("a forecast could not be stored: %s", why.detail)
        end
    end
end

function fleet.clear()
    return shared():incr("clears", 1)
end

-- Counts a batch of records; the dashboard shows how many there were.
function fleet.tick(accepted, rejected)
    RECORDS:add(accepted, "accepted")
    RECORDS:add(rejected, "rejected")
    return shared():incr("ticks", 1)
end

function fleet.ticks()
    return shared():get "ticks" or 0
end

-- How far the servers' histories reach: what /status and /feed/data report.
function fleet.warmup()
    local servers, model = fleet.servers(), forecast.model()
    local needed = model and model.past_min or md.config.warmup_steps
    local lengths = servers:lengths { keys = servers:keys(), steps = needed }
    local ready, total = 0, 0
    for _, length in ipairs(lengths) do
        ready, total = ready + (length >= needed and 1 or 0), total + length
    end
    return {
        needed = needed, servers = #lengths, ready = ready, has_model = model ~= nil,
        complete = #lengths > 0 and ready == #lengths,
        mean_steps = #lengths > 0 and math.floor(total / #lengths) or 0,
    }
end

return fleet
