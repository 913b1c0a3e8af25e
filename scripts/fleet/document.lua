-- The answer of /predictions/current, from a forecast of the fleet.
--
-- Everything per server is a column: the policy files (risk, environment, display) judge whole
-- tensors by their tables, and md.json.rows says how the columns become objects. Alerts come from
-- the alert engine, as of the last closed step.

local md = require "moondial"
local asked = require "asked"
local display = require "display"
local environment = require "environment"
local metrics = require "metrics"
local profiles = require "profiles"
local risk = require "risk"

local DECIMALS = md.config.forecast_decimals
if DECIMALS < -1 or DECIMALS > 9 or DECIMALS % 1 ~= 0 then
    error("config.lua: forecast_decimals must be a whole number from -1 to 9", 0)
end

local document = {}

-- Per server and metric, [servers, metrics]: what the policies look at. `near` is the next half
-- hour, `far` all steps.
local function outlook(group, step_min)
    local steps = group.p50:dim(3)
    local near = math.max(1, math.min(steps, math.floor(environment.NEAR_MIN / step_min)))
    local p10, p50 = group.p10:slice(3, 1, near), group.p50:slice(3, 1, near)
    local p90 = group.p90:slice(3, 1, near)
    return {
        near_mean = { p10 = p10:mean(3), p50 = p50:mean(3), p90 = p90:mean(3) },
        near = { p50_max = p50:amax(3), p90_max = p90:amax(3), p50_min = p50:amin(3),
            steps = near },
        far = { p50_max = group.p50:amax(3), p90_max = group.p90:amax(3),
            p50_min = group.p50:amin(3), steps = steps },
    }
end

local PLACES = {}
for index, metric in ipairs(metrics) do
    PLACES[metric.name] = index
end

-- { metric name = column } of [servers, metrics], each made when it is asked for. Busy is what is
-- not idle; where idle is not reported, user time has to do. `idle` [servers]: unless it is the
-- column of that name.
local function by_name(values, idle)
    return setmetatable({}, { __index = function(named, name)
        local place, column = PLACES[name], nil
        if name == "cpu_used_pct" then
            local unused = idle or named.cpu_idle_pct
            column = unused:isnan():where(named.cpu_user_pct, unused:neg():add(100))
        elseif place then
            column = values:slice(2, place, place):reshape { values:dim(1) }
        end
        named[name] = column
        return column
    end })
end

-- What is said of the servers beside their forecasts: risk scores [servers], fields of the answer,
-- probabilities of an incident.
local function judged(group, step_min)
    local seen = outlook(group, step_min)
    local current, expected = by_name(group.current), by_name(seen.near_mean.p50)
    -- Little idle time is the bad side, so the pessimist takes its lower quantile.
    local pessimistic = by_name(seen.near_mean.p90, by_name(seen.near_mean.p10).cpu_idle_pct)
    local scores = risk.scores(group.profiles, current, pessimistic)
    local fields = { alert = risk.alerts(scores), risk_score = scores:round(1),
        display_metrics = display.rows(current, expected) }
    return scores:totable(), fields, {
        near = environment.servers("near", seen.near, seen.near.steps),
        far = environment.servers("far", seen.far, seen.far.steps),
    }
end

-- The forecasts that are wanted, an object for each server and metric; metrics that a server never
-- sent (their present value is NaN) are left out.
local function forecasts(group, wanted)
    local fields, decimals = { current = group.current, trend = group.trend }, {}
    for quantile in pairs(wanted.quantiles) do
        local values = group[quantile]
        if wanted.steps and wanted.steps < values:dim(3) then
            values = values:slice(3, 1, wanted.steps)
        end
        fields[quantile], decimals[quantile] = values, DECIMALS
    end
    return md.json.rows(fields, { decimals = decimals,
        present = group.current:eq(group.current) })
end

local function labels(kinds)
    local list = {}
    for index, kind in ipairs(kinds) do
        list[index] = profiles.label(kind)
    end
    return list
end

local function add_group(answer, group, step_min, wanted)
    local scores, fields, probabilities = judged(group, step_min)
    local rows = forecasts(group, wanted)
    for index, metric in ipairs(metrics) do
        if wanted.metrics[metric.name] then
            fields[metric.name] = rows:inner(index)
        end
    end
    fields.profile, fields.model = labels(group.profiles), group.model
    answer.parts[#answer.parts + 1] = { names = group.names, rows = md.json.rows(fields) }
    for index, name in ipairs(group.names) do
        answer.scores[name] = scores[index]
        answer.probabilities[name] = { near = probabilities.near[index],
            far = probabilities.far[index] }
    end
    answer.by_model = answer.by_model or group.model ~= "trend"
end

local function metadata(fleet, answer, input_points)
    return {
        model_type = answer.by_model and "TFT" or "heuristic",
        model_dir = fleet.model and fleet.model.path or md.json.null,
        prediction_time = md.time.iso(fleet.made_at_ms),
        history_end = md.time.iso(fleet.end_ms),
        horizon_steps = fleet.steps, step_minutes = fleet.step_min, input_points = input_points,
        device = md.device().runs, problem = fleet.problem,
        silent_servers = md.json.array(fleet.silent),
    }
end

local function in_order(names, values)
    local ordered = {}
    for index, name in ipairs(names) do
        ordered[index] = values[name]
    end
    return ordered
end

-- The servers of a group that are wanted, as a group of its own; nil when there are none.
local function part(group, wanted)
    if not wanted.servers then
        return group
    end
    local picked = { model = group.model, names = {}, profiles = {} }
    local indices = {}
    for index, name in ipairs(group.names) do
        if wanted.servers[name] then
            indices[#indices + 1] = index
            picked.names[#indices], picked.profiles[#indices] = name, group.profiles[index]
        end
    end
    for _, field in ipairs { "current", "trend", "p10", "p50", "p90" } do
        picked[field] = group[field]:select(1, indices)
    end
    return #indices > 0 and picked or nil
end

local function nothing_yet()
    return { parts = {}, scores = {}, probabilities = {} }
end

-- The `predictions` of those that are wanted (asked.lua).
function document.predictions(fleet, wanted)
    local answer = nothing_yet()
    for _, group in ipairs(fleet.groups) do
        local wanted_part = part(group, wanted)
        if wanted_part then
            add_group(answer, wanted_part, fleet.step_min, wanted)
        end
    end
    return md.json.named(answer.parts)
end

-- The whole answer. `alerts` are entries of active.lua.
function document.of(fleet, alerts, input_points)
    local answer = nothing_yet()
    for _, group in ipairs(fleet.groups) do
        add_group(answer, group, fleet.step_min, asked.EVERYTHING)
    end
    local scored = {}
    for index, name in ipairs(fleet.names) do
        scored[index] = { name = name, score = answer.scores[name] }
    end
    local summary = risk.summary(scored)
    for _, ranking in ipairs { "top_5_risks", "top_10_risks", "top_20_risks" } do
        summary[ranking] = md.json.array(summary[ranking])
    end
    summary.risk_calculation_time = md.time.iso(fleet.made_at_ms)
    return {
        predictions = md.json.named(answer.parts),
        alerts = md.json.array(alerts),
        environment = environment.fleet(in_order(fleet.names, answer.probabilities)),
        metadata = metadata(fleet, answer, input_points),
        summary = summary,
    }
end

return document
