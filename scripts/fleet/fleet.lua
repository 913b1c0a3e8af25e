-- The state that all requests share: the current answer, built once per closed step.
--
-- Whoever asks first after something changed builds the answer; the others wait for that one. What
-- counts as a change: a step has closed, a server is new, another model has been loaded, these
-- scripts have been edited, the cache has been cleared, or a late row has altered a closed step.
-- Late rows may come all the time, so they count only when the last answer is ten times as old as
-- it took to build.

local md = require "moondial"
local document = require "document"
local forecast = require "forecast"

-- Decimals of all numbers in the answer; forecasts are rounded to config.forecast_decimals before.
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

-- Two texts which change whenever the answer would: for what must be told at once, and with the
-- late rows.
local function answer_versions()
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

local function build_answer(urgent, all)
    local started_ms = md.now_ms()
    local made = forecast.fleet()
    local whole, alerts = document.of(made, fleet.servers():stats().samples)
    show(made, whole, alerts)
    shared():set("raw", { list = made.raw, made_at_ms = made.made_at_ms, end_ms = made.end_ms })
    local answer = { document = md.json.blob(whole, { decimals = DECIMALS }), alerts = alerts,
        alert_count = #alerts, made_at = whole.metadata.prediction_time }
    local at_ms = md.now_ms()
    local took_ms = at_ms - started_ms
    shared():set("last", { urgent = urgent, all = all, at_ms = at_ms, took_ms = took_ms })
    md.log.info("forecast of %d servers, %d alerts, %d KB in %d ms", whole.summary.total_servers,
        #alerts, #answer.document / 1024, took_ms)
    return answer
end

-- { document = blob, alerts =, alert_count =, made_at = } or nil and an error.
function fleet.answer()
    local urgent, all = answer_versions()
    return shared():fetch("answer", all, function()
        return build_answer(urgent, all)
    end)
end

-- Stores what the model said at this step, for grading and rehearsal.
function fleet.keep()
    local raw = shared():get "raw"
    for _, entry in ipairs(raw and raw.list or {}) do
        entry.model, entry.step_s = "tft", md.config.step_s
        entry.made_at_ms, entry.start_ms = raw.made_at_ms, raw.end_ms
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
