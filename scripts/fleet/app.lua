-- The fleet forecasting daemon: `moondial serve scripts/fleet`.
--
-- Servers send records to /feed/data. They are gathered into steps of five minutes; when a step
-- closes, the whole fleet is forecast eight hours ahead, scored and checked for alerts. README.md
-- says what to edit for what.

local md = require "moondial"
local fleet = require "fleet"
local metrics = require "metrics"
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

-- The new step is forecast at once, so that nobody has to wait for it, and what the model said is
-- stored.
local function forecast_step()
    if fleet.servers():stats().samples < md.config.records_min then
        return
    end
    local answer, why = fleet.answer()
    if not answer then
        md.log.warn("no forecast of this step: %s", tostring(why))
        return
    end
    fleet.keep()
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
    models = { tft = { path = md.config.model, optional = true } },
    routes = require "routes",
    on_tick = { series = "servers", run = forecast_step },
}
