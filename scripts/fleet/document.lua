-- The answer of /predictions/current, from a forecast of the fleet.
--
-- Sums over forecast steps are done on whole tensors; what is left for Lua is a handful of numbers
-- per server and metric, which the policy files (risk, environment, display) judge. Alerts come
-- from the alert engine, as of the last closed step.

local md = require "moondial"
local asked = require "asked"
local display = require "display"
local environment = require "environment"
local metrics = require "metrics"
local profiles = require "profiles"
local risk = require "risk"

local document = {}

-- Per server and metric, as nested arrays: what the policies look at. `near` is the next half hour,
-- `far` all steps.
local function outlook(group, step_min)
    local steps = group.p50:dim(3)
    local near = math.max(1, math.min(steps, math.floor(environment.NEAR_MIN / step_min)))
    local p10, p50 = group.p10:slice(3, 1, near), group.p50:slice(3, 1, near)
    local p90 = group.p90:slice(3, 1, near)
    return {
        steps = steps, near_steps = near,
        current = group.current:totable(),
        near_p10_mean = p10:mean(3):totable(), near_p50_mean = p50:mean(3):totable(),
        near_p90_mean = p90:mean(3):totable(),
        near_p50_max = p50:amax(3):totable(), near_p90_max = p90:amax(3):totable(),
        near_p50_min = p50:amin(3):totable(),
        far_p50_max = group.p50:amax(3):totable(), far_p90_max = group.p90:amax(3):totable(),
        far_p50_min = group.p50:amin(3):totable(),
    }
end

-- { metric name = number } of one server for one of seen's fields; metrics that it never sent
-- (their present value is NaN) are left out.
local function by_name(seen, field, server)
    local named, current = {}, seen.current[server]
    for index, metric in ipairs(metrics) do
        if current[index] == current[index] then
            named[metric.name] = seen[field][server][index]
        end
    end
    return named
end

-- Busy is what is not idle; where idle is not reported, user time has to do.
local function with_cpu_used(named, idle)
    named.cpu_used_pct = idle and 100 - idle or named.cpu_user_pct
    return named
end

local function scores(seen, server, profile)
    local current = by_name(seen, "current", server)
    with_cpu_used(current, current.cpu_idle_pct)
    local pessimistic = by_name(seen, "near_p90_mean", server)
    -- Little idle time is the bad side, so the pessimist takes its lower quantile.
    with_cpu_used(pessimistic, by_name(seen, "near_p10_mean", server).cpu_idle_pct)
    local expected = by_name(seen, "near_p50_mean", server)
    with_cpu_used(expected, expected.cpu_idle_pct)
    return risk.score(profile, current, pessimistic), display.metrics(current, expected)
end

local function peaks(span, seen, server)
    local current, found = seen.current[server], {}
    local p50_max, p90_max = seen[span .. "_p50_max"][server], seen[span .. "_p90_max"][server]
    local p50_min = seen[span .. "_p50_min"][server]
    for index, metric in ipairs(metrics) do
        if environment.judges(metric.name) and current[index] == current[index] then
            found[metric.name] = { p50_max = p50_max[index], p90_max = p90_max[index],
                p50_min = p50_min[index] }
        end
    end
    return found
end

local function probabilities(seen, server)
    return {
        near = environment.server("near", peaks("near", seen, server), seen.near_steps),
        far = environment.server("far", peaks("far", seen, server), seen.steps),
    }
end

-- The forecasts that are wanted, a row for each server and metric.
local function shown_rows(group, wanted)
    local fields = { current = group.current, trend = group.trend }
    for quantile in pairs(wanted.quantiles) do
        local values = group[quantile]
        if wanted.steps and wanted.steps < values:dim(3) then
            values = values:slice(3, 1, wanted.steps)
        end
        fields[quantile] = values:round(md.config.forecast_decimals)
    end
    return md.json.rows(fields)
end

local function metric_entries(group, seen, server, rows, wanted)
    local entry = {}
    for index, metric in ipairs(metrics) do
        local current = seen.current[server][index]
        if current == current and wanted.metrics[metric.name] then
            entry[metric.name] = rows:at(server, index)
        end
    end
    entry.profile = profiles.label(group.profiles[server])
    entry.model = group.model
    return entry
end

local function add_group(answer, group, step_min, wanted)
    local rows = shown_rows(group, wanted)
    local seen = outlook(group, step_min)
    for server, name in ipairs(group.names) do
        local score, figures = scores(seen, server, group.profiles[server])
        local entry = metric_entries(group, seen, server, rows, wanted)
        entry.alert, entry.display_metrics = risk.alert(score), figures
        entry.risk_score = entry.alert.score
        answer.predictions[name] = entry
        answer.scores[name] = score
        answer.probabilities[name] = probabilities(seen, server)
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
        device = "cpu", silent_servers = md.json.array(fleet.silent), problem = fleet.problem,
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
    return { predictions = {}, scores = {}, probabilities = {} }
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
    return answer.predictions
end

-- The whole answer. `alerts` are entries of active.lua.
function document.of(fleet, alerts, input_points)
    local answer = nothing_yet()
    for _, group in ipairs(fleet.groups) do
        add_group(answer, group, fleet.step_min, asked.EVERYTHING)
        md.sleep(0) -- a large fleet takes a while; let others run
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
        predictions = answer.predictions,
        alerts = md.json.array(alerts),
        environment = environment.fleet(in_order(fleet.names, answer.probabilities)),
        metadata = metadata(fleet, answer, input_points),
        summary = summary,
    }
end

return document
