-- One forecast of the whole fleet at the end of a closed step.
--
-- Servers with enough history are forecast by the model (for the metrics it was trained on), the
-- others by their trend; every server says which. When the model is missing or fails, everybody is
-- forecast by trend and the answer says why. Servers are taken some at a time, which bounds the
-- memory of a forecast whatever the size of the fleet; while the model works on some, the windows
-- of the next are prepared.

local md = require "moondial"
local features = require "features"
local metrics = require "metrics"
local profiles = require "profiles"
local trend = require "trend"

-- A quarter of the fleet at a time, within these bounds (at least as many as the model takes at
-- once), and how many such batches are prepared ahead of the model.
local SERVERS_MIN, SERVERS_MAX, AHEAD = 32, 100, 1
local MODEL = "tft"

-- Quantiles that answers show; a model must have been trained on all three.
local SHOWN = { p10 = 0.1, p50 = 0.5, p90 = 0.9 }

local forecast = { SHOWN = SHOWN }

-- The loaded model, or nil: { config = , steps = , past_max = , past_min = , path = }.
function forecast.model()
    local model = md.model(MODEL)
    if not model:loaded() then
        return nil
    end
    local info = model:info()
    local dataset = info.config.dataset
    return {
        config = info.config, path = info.path, version = info.version,
        loaded_at_ms = info.loaded_at_ms,
        steps = dataset.max_prediction_length,
        past_max = dataset.max_encoder_length,
        past_min = dataset.min_encoder_length,
    }
end

-- Servers that still send, sorted by name, and those that have fallen silent.
local function who_sends(servers, now_ms)
    local names = servers:keys()
    local _, times = servers:latest { keys = names, columns = { metrics[1].name } }
    local oldest_ms = now_ms - md.config.silent_after_min * 60000
    local sending, silent = {}, {}
    for index, name in ipairs(names) do
        local list = times:get(index) >= oldest_ms and sending or silent
        list[#list + 1] = name
    end
    return sending, silent
end

-- Indices of servers whose history suffices for the model, and of the others.
local function split(batch, model)
    local by_model, by_trend = {}, {}
    local observed = batch.values:slice(3, 1, 1):count_finite(2)
    for index = 1, #batch.names do
        local enough = model and batch.lengths[index] >= model.past_min
            and observed:get(index, 1) >= model.past_min
        local list = enough and by_model or by_trend
        list[#list + 1] = index
    end
    return by_model, by_trend
end

local function pick(list, indices)
    local picked = {}
    for position, index in ipairs(indices) do
        picked[position] = list[index]
    end
    return picked
end

-- The servers of `batch` at `indices`, as a batch of their own.
local function part(batch, indices)
    return {
        names = pick(batch.names, indices), profiles = pick(batch.profiles, indices),
        lengths = pick(batch.lengths, indices), values = batch.values:select(1, indices),
        end_ms = batch.end_ms, step_s = batch.step_s,
    }
end

-- The newest `steps` of a batch's windows.
local function last_of(values, steps)
    local past = values:dim(2)
    return steps < past and values:slice(2, past - steps + 1, past) or values
end

-- What trends look at.
local function metric_values(batch)
    return last_of(batch.values, trend.WINDOW_STEPS):slice(3, 1, #metrics)
end

-- ---- by the model --------------------------------------------------------------------------

local function quantile_index(target, quantile)
    for index, candidate in ipairs(target.quantiles) do
        if math.abs(candidate - quantile) < 1e-6 then
            return index
        end
    end
end

local function metric_by_name(name)
    for index, metric in ipairs(metrics) do
        if metric.name == name then
            return index, metric
        end
    end
end

-- `whole` [servers, metrics, steps] with `values` [servers, steps] in place of metric `index`.
local function replaced(whole, index, values)
    local pieces = {}
    if index > 1 then
        pieces[1] = whole:slice(2, 1, index - 1)
    end
    pieces[#pieces + 1] = values:reshape { whole:dim(1), 1, whole:dim(3) }
    if index < #metrics then
        pieces[#pieces + 1] = whole:slice(2, index + 1, #metrics)
    end
    return md.tensor.concat(pieces, 2)
end

-- Puts one target's quantiles in the place of that metric's trend.
local function take_over(result, target, prediction)
    local index, metric = metric_by_name(target.name)
    local servers, steps = prediction:dim(1), prediction:dim(2)
    for field, quantile in pairs(SHOWN) do
        local at = quantile_index(target, quantile)
        local values = prediction:slice(3, at, at):reshape { servers, steps }
            :clip(metric.low, metric.ceiling or math.huge)
        result[field] = replaced(result[field], index, values)
    end
    local last = result.p50:slice(2, index, index):slice(3, steps, steps)
        :reshape { servers, 1 }
    local slope = last:sub(result.current:slice(2, index, index)):div(steps)
    local before = result.trend:reshape { servers, #metrics, 1 }
    result.trend = replaced(before, index, slope):reshape { servers, #metrics }
end

local function usable_target(target)
    if not metric_by_name(target.name) then
        return nil, "the model forecasts " .. target.name .. ", which is not a metric"
    end
    for _, quantile in pairs(SHOWN) do
        if not (target.quantiles and quantile_index(target, quantile)) then
            return nil, "the model lacks a quantile that answers show"
        end
    end
    return true
end

-- Begins the model's part of a forecast: `batch` with its `prediction`, or nil and why not.
local function start_model(model, batch)
    local past = math.min(model.past_max, batch.values:dim(2))
    batch.values = last_of(batch.values, past)
    for index, length in ipairs(batch.lengths) do
        batch.lengths[index] = math.min(length, past)
    end
    local inputs, why = features.build(model.config, batch)
    if not inputs then
        return nil, why
    end
    local failure
    batch.prediction, failure = md.model(MODEL):start(inputs, {
        keys = batch.names, lengths = batch.lengths, step = batch.end_ms / (batch.step_s * 1000),
    })
    if not batch.prediction then
        return nil, failure.detail
    end
    return batch
end

-- The model's part of a forecast that start_model has begun, or nil and why not. `raw` takes what
-- the model itself said, one entry a target, for md.forecasts.put.
local function finish_model(model, batch, raw)
    -- What needs no model is worked out while the model runs.
    local result = trend.forecast(metric_values(batch), model.steps, trend.FORMULAS.beside)
    local outputs, failure = batch.prediction:wait()
    if not outputs then
        return nil, failure.detail
    end
    local targets = model.config.targets
    for index, target in ipairs(targets) do
        local usable, problem = usable_target(target)
        if not usable then
            return nil, problem
        end
        local output = #targets > 1 and "prediction_" .. index - 1 or "prediction"
        take_over(result, target, outputs[output])
        raw[#raw + 1] = { keys = batch.names, target = target.name,
            quantiles = target.quantiles, values = outputs[output] }
    end
    return result
end

-- ---- the fleet -----------------------------------------------------------------------------

local function finished(result, batch, name)
    result.model, result.names, result.profiles = name, batch.names, batch.profiles
    return result
end

local function add_by_trend(fleet, batch)
    local result = trend.forecast(metric_values(batch), fleet.steps, trend.FORMULAS.alone)
    fleet.groups[#fleet.groups + 1] = finished(result, batch, "trend")
end

local function give_up_model(fleet, why)
    md.log.warn("forecast by trend: %s", why)
    fleet.problem, fleet.model = why, nil
end

local function finish_batch(fleet, model, batch)
    local result, why = finish_model(model, batch, fleet.raw)
    if result then
        fleet.groups[#fleet.groups + 1] = finished(result, batch, MODEL)
    else
        give_up_model(fleet, why)
        add_by_trend(fleet, batch)
    end
end

-- Forecasts by trend who has too little history, and begins to forecast the others: returns their
-- batch, or nil when there is nothing to wait for.
local function begin_batch(fleet, batch)
    local by_model, by_trend = split(batch, fleet.model)
    local begun, why
    if #by_model > 0 then
        local known = #by_trend > 0 and part(batch, by_model) or batch
        begun, why = start_model(fleet.model, known)
        if not begun then
            give_up_model(fleet, why)
            add_by_trend(fleet, known)
        end
    end
    if #by_trend > 0 then
        add_by_trend(fleet, part(batch, by_trend))
    end
    return begun
end

-- A server whose first step has not closed yet is known by the last it sent: that stands in for a
-- closed step, so that new servers are listed at once.
local function with_newcomers(servers, batch)
    local is_new, any = {}, false
    for index, length in ipairs(batch.lengths) do
        is_new[index] = length == 0 and 1 or 0
        any = any or length == 0
    end
    if not any then
        return batch
    end
    local count, past = #batch.names, batch.values:dim(2)
    local newest = servers:latest { keys = batch.names, columns = features.COLUMNS }
    local last = md.tensor.from(is_new):reshape { count, 1, 1 }:where(
        newest:reshape { count, 1, #features.COLUMNS }, batch.values:slice(2, past, past))
    batch.values = md.tensor.concat({ batch.values:slice(2, 1, past - 1), last }, 2)
    return batch
end

local function batch_of(servers, names, end_ms, past)
    local values = servers:window { keys = names, steps = past, columns = features.COLUMNS,
        end_ms = end_ms }
    local kinds = {}
    for index, name in ipairs(names) do
        kinds[index] = profiles.of(name, servers:label(name, "profile"))
    end
    return with_newcomers(servers, {
        names = names, profiles = kinds, values = values, end_ms = end_ms,
        lengths = servers:lengths { keys = names, steps = past, end_ms = end_ms },
        step_s = md.config.step_s,
    })
end

-- Forecasts every server that sends. The result's `groups` hold some servers each, all
-- forecast the same way: { model =, names =, profiles =, current =, trend =, p10 =, p50 =, p90 = }
-- with current and trend [servers, metrics] and the quantiles [servers, metrics, steps]; `raw` is
-- what the model said, with all its quantiles.
function forecast.fleet()
    local servers = md.series "servers"
    local model = forecast.model()
    local end_ms, now_ms = servers:closed_ms(), md.now_ms()
    local sending, silent = who_sends(servers, now_ms)
    local fleet = {
        model = model, groups = {}, raw = {}, silent = silent, end_ms = end_ms, made_at_ms = now_ms,
        step_min = md.config.step_s / 60, names = sending,
        steps = model and model.steps or md.config.horizon_steps,
    }
    local past, begun = model and model.past_max or trend.WINDOW_STEPS, {}
    local size = math.max(SERVERS_MIN, math.min(SERVERS_MAX, math.ceil(#sending / 4)))
    for first = 1, #sending, size do
        local names = {}
        for index = first, math.min(#sending, first + size - 1) do
            names[#names + 1] = sending[index]
        end
        begun[#begun + 1] = begin_batch(fleet, batch_of(servers, names, end_ms, past))
        if #begun > AHEAD then
            finish_batch(fleet, model, table.remove(begun, 1))
        end
    end
    for _, batch in ipairs(begun) do
        finish_batch(fleet, model, batch)
    end
    return fleet
end

return forecast
