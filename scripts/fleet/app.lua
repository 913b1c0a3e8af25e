-- The fleet forecasting daemon: `moondial serve scripts/fleet`.
--
-- Servers send records to /feed/data. They are gathered into steps of five minutes; when a step
-- closes, the whole fleet is forecast eight hours ahead, alert rules are evaluated on values and
-- forecasts, and the answer that all requests get is made of both. README.md says what to edit for
-- what.

local md = require "moondial"
local alerts = require "alerts"
local fleet = require "fleet"
local forecast = require "forecast"
local metrics = require "metrics"
local profiles = require "profiles"
local states = require "states"

local function columns()
    local list = {}
    for index, metric in ipairs(metrics) do
        list[index] = { name = metric.name, kind = metric.kind, min = metric.low,
            max = metric.high, integer = metric.whole }
    end
    list[#list + 1] = { name = "status", kind = "last", values = states }
    return list
end

local AHEAD = md.config.forecast_ahead
if not ({ answer = true, forecast = true, nothing = true })[AHEAD] then
    error('config.lua: forecast_ahead must be "answer", "forecast" or "nothing"', 0)
end

local function enough_records()
    return fleet.servers():stats().samples >= md.config.records_min
end

-- The new step is forecast at once, so that nobody has to wait for it, and what the model said is
-- stored.
local function forecast_step()
    if AHEAD == "nothing" or not enough_records() then
        return
    end
    local made, why = fleet.forecast()
    if not made then
        md.log.warn("no forecast of this step: %s", tostring(why))
        return
    end
    fleet.keep(made)
end

local function forecasts(tick)
    if AHEAD == "nothing" or not enough_records() then
        return nil
    end
    return fleet.channels(tick)
end

-- The answer of this step, with the alerts that it has brought.
local function prepare_answer()
    if AHEAD == "answer" and enough_records() then
        fleet.answer()
    end
end

-- Without forecasts at the tick, rules that watch them have nothing to look at.
local function rules()
    local list = {}
    for _, rule in ipairs(alerts) do
        local kind = type(rule.watch) == "table" and rule.watch.kind
        if AHEAD ~= "nothing" or kind ~= "forecast" then
            list[#list + 1] = rule
        end
    end
    return list
end

local function profile_names()
    local names = {}
    for index, profile in ipairs(profiles.registry) do
        names[index] = profile.name
    end
    return names
end

return md.app {
    name = "fleet",
    version = "0.1.0",
    health = { service = "tft_inference_daemon", running = true },
    series = {
        servers = {
            key = "server_name", time = "timestamp", labels = { "profile" }, columns = columns(),
            step_s = md.config.step_s, steps = md.config.window_steps,
            entities_max = md.config.servers_max, grace_s = md.config.grace_s,
            late_max_min = md.config.late_max_min, future_max_min = md.config.future_max_min,
            evict_after_min = md.config.evict_after_min,
        },
    },
    models = {
        tft = { path = md.config.model, optional = true, batch_max = forecast.SERVERS_MAX },
    },
    routes = require "routes",
    alerts = {
        series = "servers", entity = "server", rules = rules(),
        profile = profiles.of, profiles = profile_names(),
        forecasts = forecasts, quantiles = { 0.1, 0.5, 0.9 },
        severities = { "critical", "warning", "info" }, -- active.lua ranks them
        -- Kept of every metric, so that rules to come can be rehearsed on it.
        keep = { quantiles = { 0.5 }, within_min = 60 },
        after = prepare_answer,
        notify = require "notify",
    },
    on_tick = { series = "servers", run = forecast_step },
}
