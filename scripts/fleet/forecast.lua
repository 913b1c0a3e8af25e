-- One forecast of the whole fleet at the end of a closed step.
--
-- Servers with enough history are forecast by the model (for the metrics it was trained on), the
-- others by their trend; every server says which. When the model is missing or fails, those that it
-- leaves are forecast by trend, too, and the answer says why. Servers are taken some at a time,
-- which bounds the memory of a forecast whatever the size of the fleet; the next ones are prepared
-- while the model runs.

local md = require "moondial"
local features = require "features"
local metrics = require "metrics"
local profiles = require "profiles"
local trend = require "trend"

local MODEL, TREND = "tft", "trend"
local FORMULAS = { [MODEL] = trend.FORMULAS.beside, [TREND] = trend.FORMULAS.alone }

-- Quantiles that answers show; a model must have been trained on all three.
local SHOWN = { p10 = 0.1, p50 = 0.5, p90 = 0.9 }

local forecast = { SHOWN = SHOWN }

-- So many servers at a time, which are one run of the model: few, so that it starts early and its
-- cores are not left idle by what one of them prepares, but enough to fill its kernels.
forecast.SERVERS_MAX = 64

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
    times = times:totable()
    for index, name in ipairs(names) do
        local list = times[index] >= oldest_ms and sending or silent
        list[#list + 1] = name
    end
    return sending, silent
end

-- Indices of servers whose history suffices for the model, and of the others.
local function split(batch, model)
    local by_model, by_trend = {}, {}
    local count = #batch.names
    local observed = batch.values:slice(3, 1, 1):count_finite(2):reshape { count }:totable()
    for index = 1, count do
        local enough = model and batch.lengths[index] >= model.past_min
            and observed[index] >= model.past_min
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

-- What the model says of one target: a copy within the metric's range of each quantile that is
-- shown, { p10 =, p50 =, p90 = }, [servers, 1, steps].
local function shown_of(target, prediction)
    local _, metric = metric_by_name(target.name)
    local fields, places, shown = {}, {}, {}
    for field, quantile in pairs(SHOWN) do
        fields[#fields + 1], places[#places + 1] = field, quantile_index(target, quantile)
    end
    local within = prediction:select(3, places):clip(metric.low, metric.ceiling or math.huge)
        :transpose { 1, 3, 2 }
    for index, field in ipairs(fields) do
        shown[field] = within:slice(2, index, index)
    end
    return shown
end

-- For each metric: one at its place, zero at the others, to choose by in [servers, metrics, steps].
local ONLY = {}
for index in ipairs(metrics) do
    ONLY[index] = md.tensor.zeros({ 1, #metrics, 1 }):set(1, index, 1, 1)
end

-- Puts what the model says of a target in the place of that metric's trend.
local function take_over(result, name, shown)
    local index = metric_by_name(name)
    local is_target, steps = ONLY[index], shown.p50:dim(3)
    for field, values in pairs(shown) do
        result[field] = is_target:where(values, result[field])
    end
    local now = result.current:slice(2, index, index)
    local slope = shown.p50:slice(3, steps, steps):sub(now):div(steps)
    result.trend = is_target:where(slope, result.trend)
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

-- Waits for the model that start_model has told what to do: what it says of each target and the
-- `fit` of the other metrics, or nil and why not. `raw` takes what the model itself said, one entry
-- a target, for md.forecasts.put.
local function finish_model(model, batch, raw)
    -- What needs no model is worked out while the model runs.
    local piece = { fit = trend.fit(metric_values(batch), FORMULAS[MODEL]), targets = {} }
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
        piece.targets[target.name] = shown_of(target, outputs[output])
        raw[#raw + 1] = { keys = batch.names, target = target.name,
            quantiles = target.quantiles, values = outputs[output] }
    end
    return piece
end

-- ---- the fleet -----------------------------------------------------------------------------

-- Keeps a piece of what will be a group (below): of those servers that `name` forecasts.
local function add_piece(fleet, name, batch, piece)
    piece.names, piece.profiles = batch.names, batch.profiles
    local pieces = fleet.pieces[name]
    pieces[#pieces + 1] = piece
end

-- One list of what all parts have in their lists `field`.
local function all_of(parts, field)
    if #parts == 1 then
        return parts[1][field]
    end
    local all = {}
    for _, each in ipairs(parts) do
        for _, entry in ipairs(each[field]) do
            all[#all + 1] = entry
        end
    end
    return all
end

-- The tensors of all pieces' tables that `table_of` finds, by their names.
local function joined_tensors(pieces, table_of)
    if #pieces == 1 then
        return table_of(pieces[1])
    end
    local all = {}
    for name in pairs(table_of(pieces[1])) do
        local list = {}
        for index, piece in ipairs(pieces) do
            list[index] = table_of(piece)[name]
        end
        all[name] = md.tensor.concat(list, 1)
    end
    return all
end

-- The group that `pieces` make up, forecast by `name`.
local function joined(pieces, name, steps)
    local fit = joined_tensors(pieces, function(piece)
        return piece.fit
    end)
    local group = trend.lines(fit, steps, FORMULAS[name])
    group.model, group.current, group.trend = name, fit.current, fit.slope
    group.names = all_of(pieces, "names")
    group.profiles = all_of(pieces, "profiles")
    for target in pairs(pieces[1].targets) do
        take_over(group, target, joined_tensors(pieces, function(piece)
            return piece.targets[target]
        end))
    end
    local shape = { #group.names, #metrics }
    group.current, group.trend = group.current:reshape(shape), group.trend:reshape(shape)
    return group
end

local function add_by_trend(fleet, batch)
    add_piece(fleet, TREND, batch,
        { fit = trend.fit(metric_values(batch), FORMULAS[TREND]), targets = {} })
end

local function give_up_model(fleet, why)
    md.log.warn("forecast by trend: %s", why)
    fleet.problem, fleet.model = why, nil
end

local function finish_batch(fleet, model, batch)
    local piece, why = finish_model(model, batch, fleet.raw)
    if piece then
        add_piece(fleet, MODEL, batch, piece)
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

-- Forecasts the servers of `fleet.names`, some at a time: while the model runs for some, the next
-- are prepared.
local function forecast_in_turn(fleet, servers)
    local model, running = fleet.model, nil
    local past = model and model.past_max or trend.WINDOW_STEPS
    local function finish()
        if running then
            finish_batch(fleet, model, running)
        end
    end
    for first = 1, #fleet.names, forecast.SERVERS_MAX do
        local last = math.min(#fleet.names, first + forecast.SERVERS_MAX - 1)
        local names = { unpack(fleet.names, first, last) }
        local begun = begin_batch(fleet, batch_of(servers, names, fleet.end_ms, past))
        finish()
        running = begun
    end
    finish()
end

-- Forecasts every server that sends. The result's `groups` (by the model, by trend) hold some
-- servers each: { model =, names =, profiles =, current =, trend =, p10 =, p50 =, p90 = } with
-- current and trend [servers, metrics] and the quantiles lazy, [servers, metrics, steps]; `raw` is
-- what the model said, with all its quantiles.
function forecast.fleet()
    local servers = md.series "servers"
    local model = forecast.model()
    local end_ms, now_ms = servers:closed_ms(), md.now_ms()
    local sending, silent = who_sends(servers, now_ms)
    local fleet = {
        model = model, groups = {}, raw = {}, pieces = { [MODEL] = {}, [TREND] = {} },
        silent = silent, end_ms = end_ms, made_at_ms = now_ms,
        step_min = md.config.step_s / 60, names = sending,
        steps = model and model.steps or md.config.horizon_steps,
    }
    forecast_in_turn(fleet, servers)
    for _, name in ipairs { MODEL, TREND } do
        local pieces = fleet.pieces[name]
        fleet.groups[#fleet.groups + 1] = #pieces > 0 and joined(pieces, name, fleet.steps) or nil
    end
    fleet.pieces = nil
    return fleet
end

return forecast
