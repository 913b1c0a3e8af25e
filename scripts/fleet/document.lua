-- The answer of /predictions/current, from a forecast of the fleet.
--
-- Everything per server is a column: the policy files (risk, environment, display) judge whole
-- tensors by their tables, and md.json.rows says how the columns become objects. Alerts come from
-- the alert engine, as of the last closed step.

local md = require "moondial"
local asked = require "asked"
local columns = require "columns"
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

-- The next half hour of a group's forecasts.
local function next_steps(group, step_min)
    local steps = group.p50:dim(3)
    local near = math.max(1, math.min(steps, math.floor(environment.NEAR_MIN / step_min)))
    return { steps = near, p10 = group.p10:slice(3, 1, near), p50 = group.p50:slice(3, 1, near),
        p90 = group.p90:slice(3, 1, near) }
end

-- What is said of the servers beside their forecasts: risk scores [servers], fields of the answer,
-- probabilities of an incident.
local function judged(group, step_min)
    local near = next_steps(group, step_min)
    local current, expected = columns.of(group.current), columns.of(near.p50:mean(3))
    -- Little idle time is the bad side, so the pessimist takes its lower quantile.
    local pessimistic =
        columns.of(near.p90:mean(3), columns.one(near.p10, "cpu_idle_pct"):mean(3))
    local scores = risk.scores(group.profiles, current, pessimistic)
    local fields = { alert = risk.alerts(scores), risk_score = scores:round(1),
        display_metrics = display.rows(current, expected) }
    return {
        scores = scores, fields = fields,
        near = environment.servers("near", near.p50, near.p90),
        far = environment.servers("far", group.p50, group.p90),
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

-- What people read for each of a list of profiles.
local function labels(kinds)
    local texts, place_of = {}, {}
    for index, profile in ipairs(profiles.registry) do
        texts[index], place_of[profile.name] = profile.label, index
    end
    return md.json.choice(md.tensor.look_up(kinds, place_of, place_of.generic), texts)
end

-- An object for each server of a group, from what has been `judged` of it.
local function rows_of(group, fields, wanted)
    local rows = forecasts(group, wanted)
    for index, metric in ipairs(metrics) do
        if wanted.metrics[metric.name] then
            fields[metric.name] = rows:inner(index)
        end
    end
    fields.profile, fields.model = labels(group.profiles), group.model
    return { names = group.names, rows = md.json.rows(fields) }
end

local function metadata(fleet, input_points)
    local by_model = false
    for _, group in ipairs(fleet.groups) do
        by_model = by_model or group.model ~= "trend"
    end
    return {
        model_type = by_model and "TFT" or "heuristic",
        model_dir = fleet.model and fleet.model.path or md.json.null,
        prediction_time = md.time.iso(fleet.made_at_ms),
        history_end = md.time.iso(fleet.end_ms),
        horizon_steps = fleet.steps, step_minutes = fleet.step_min, input_points = input_points,
        device = md.device().runs, problem = fleet.problem,
        silent_servers = md.json.array(fleet.silent),
    }
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

-- The `predictions` of those that are wanted (asked.lua).
function document.predictions(fleet, wanted)
    local parts = {}
    for _, group in ipairs(fleet.groups) do
        local wanted_part = part(group, wanted)
        if wanted_part then
            parts[#parts + 1] = rows_of(wanted_part,
                judged(wanted_part, fleet.step_min).fields, wanted)
        end
    end
    return md.json.named(parts)
end

-- One column of all groups' servers, from that of each group.
local function joined(judgements, field)
    local each = {}
    for index, judgement in ipairs(judgements) do
        each[index] = judgement[field]
    end
    return #each > 1 and md.tensor.concat(each, 1) or each[1] or md.tensor.zeros { 0 }
end

-- Everybody's scores in the fleet's order.
local function scores_in_order(fleet, judgements)
    local scores = joined(judgements, "scores")
    if #judgements <= 1 then
        return scores
    end
    local place_of, order, count = {}, {}, 0
    for _, group in ipairs(fleet.groups) do
        for _, name in ipairs(group.names) do
            count = count + 1
            place_of[name] = count
        end
    end
    for index, name in ipairs(fleet.names) do
        order[index] = place_of[name]
    end
    return scores:select(1, order)
end

local function summary(fleet, judgements)
    local counted = risk.summary(fleet.names, scores_in_order(fleet, judgements))
    for _, ranking in ipairs { "top_5_risks", "top_10_risks", "top_20_risks" } do
        counted[ranking] = md.json.array(counted[ranking])
    end
    counted.risk_calculation_time = md.time.iso(fleet.made_at_ms)
    return counted
end

-- The whole answer. `alerts` are entries of active.lua.
function document.of(fleet, alerts, input_points)
    local parts, judgements = {}, {}
    for index, group in ipairs(fleet.groups) do
        local judgement = judged(group, fleet.step_min)
        judgements[index] = judgement
        parts[index] = rows_of(group, judgement.fields, asked.EVERYTHING)
    end
    return {
        predictions = md.json.named(parts),
        alerts = md.json.array(alerts),
        environment = environment.fleet(joined(judgements, "near"), joined(judgements, "far")),
        metadata = metadata(fleet, input_points),
        summary = summary(fleet, judgements),
    }
end

return document
