-- From windows of raw values to what a Temporal Fusion Transformer reads.
--
-- Everything follows the model's own config.json: which variables, in which order, scaled how, with
-- which codes. The windows come right-aligned (the last step is the newest); the model wants rows
-- left-aligned with padding at their end, which is the last thing done here.
--
-- A server the model was trained on is scaled by its own row of the model's table. Any other is
-- scaled by its own history, or by the table's median row when the model does not ask for that.

local md = require "moondial"
local metrics = require "metrics"
local states = require "states"

local CALENDAR = { "hour", "day_of_week", "month", "is_weekend" }
local NAN = 0 / 0
local FLOAT_EPSILON = 1.1920929e-7

local features = {}

-- The columns to ask a series table for, in the order that this file relies on.
features.COLUMNS = {}
for index, metric in ipairs(metrics) do
    features.COLUMNS[index] = metric.name
end
features.COLUMNS[#metrics + 1] = "status"

local metric_index = {}
for index, metric in ipairs(metrics) do
    metric_index[metric.name] = index
end

-- ---- the target's scale --------------------------------------------------------------------

-- What the normaliser does to the target before centring it.
local TRANSFORMS = {
    none = function(values)
        return values
    end,
    softplus = function(values) -- the inverse of ln(1 + e^x)
        local small = values:add(FLOAT_EPSILON):neg():exp():neg():add(1):log():add(values)
        return values:gt(20):where(values, small)
    end,
}

local function transformed_target(config, batch)
    local target = config.targets[1]
    local column = metric_index[target.name]
    local transform = TRANSFORMS[target.normalizer.transformation or "none"]
    if not column or not transform then
        return nil, "cannot prepare target " .. tostring(target.name)
    end
    local values = batch.values:slice(3, column, column):fill_forward(2, NAN)
    local clip = config.fleet and config.fleet.target_clip
    local clipped = (clip and values:clip(clip[1], clip[2]) or values):lazy()
    return transform(clipped):tensor() -- by all threads
end

local function rows_by_key(normalizer)
    local rows = {}
    for _, row in ipairs(normalizer.rows or {}) do
        rows[row.key[1]] = row
    end
    return rows
end

-- Whether the model has a row of its own for this server.
function features.is_known(config, name)
    return rows_by_key(config.targets[1].normalizer)[name] ~= nil
end

-- Number of servers the model has rows for.
function features.known_count(config)
    return #(config.targets[1].normalizer.rows or {})
end

-- [servers, 2]: centre and scale of each server's target, in transformed space.
local function target_scales(config, batch, transformed)
    local normalizer, fleet = config.targets[1].normalizer, config.fleet or {}
    local rows, window = rows_by_key(normalizer), nil
    if fleet.target_scale and fleet.target_scale.unknown == "window" then
        window = {
            center = transformed:nanmean(2):reshape { #batch.names }:totable(),
            scale = transformed:nanstd(2, 1):reshape { #batch.names }
                :max(fleet.target_scale.window.scale_min):totable(),
        }
    end
    local pairs_of = {}
    for index, name in ipairs(batch.names) do
        local row = rows[name]
        if row then
            pairs_of[index] = { row.center, row.scale }
        elseif window then
            pairs_of[index] = { window.center[index], window.scale[index] }
        else
            pairs_of[index] = { normalizer.missing.center, normalizer.missing.scale }
        end
    end
    return md.tensor.from(pairs_of)
end

-- ---- columns -------------------------------------------------------------------------------
--
-- What feeds a variable is a table for md.tensor.columns, once for the history and once for the
-- future: where its values come from, whether a missing one takes the one before it, how it is
-- scaled, and what the model is told of one that was never sent.

local NOTHING = { from = 0 }

-- `column` as the model's scaler has it.
local function scaled(column, scaler)
    if scaler.kind == "standard" then
        column.sub, column.div = scaler.mean, scaler.scale
    end
    return column
end

-- One number per server as [servers, 1, 1].
local function per_server(batch, values)
    return values:reshape { batch.servers, 1, 1 }
end

-- Variables over time that can be known ahead, over history and future: [servers, steps, columns],
-- where a size of 1 stands for what is the same for all, and which column of that.
local OVER_TIME = {
    relative_time_idx = function(batch, config)
        return md.tensor.range(-batch.past, batch.future - 1):div(config.max_encoder_length)
            :reshape { 1, batch.steps, 1 }
    end,
}
for index, name in ipairs(CALENDAR) do
    OVER_TIME[name] = function(batch)
        return batch.calendar, index
    end
end

-- What is known of a server at all times, [servers, 1, 1]; nil when `name` is not of these.
local function known(batch, config, name)
    local target = config.targets[1].name
    if name == "encoder_length" then
        local half = config.max_encoder_length / 2
        return per_server(batch, md.tensor.from(batch.lengths):sub(half):div(half))
    elseif name == target .. "_center" then
        return per_server(batch, batch.center)
    elseif name == target .. "_scale" then
        return per_server(batch, batch.scale)
    end
end

-- History of a metric. One that was never sent is told as its `absent` value, or as the scaler's
-- mean.
local function metric_history(batch, index, scaler)
    local absent, unsent = metrics[index].absent, metrics[index].absent or 0
    if scaler.kind == "standard" then
        unsent = absent and (absent - scaler.mean) / scaler.scale or 0
    end
    return scaled({ from = batch.values, column = index, forward = true, absent = unsent }, scaler)
end

-- The columns of a variable in the history and in the future. Nil and why not for what a fleet does
-- not have.
local function real_column(batch, config, real)
    local index = metric_index[real.name]
    if OVER_TIME[real.name] then
        local whole, column = OVER_TIME[real.name](batch, config)
        return scaled({ from = whole, column = column }, real.scaler),
            scaled({ from = whole, column = column, first = batch.past + 1 }, real.scaler)
    end
    local constant = known(batch, config, real.name)
    if constant then
        local column = scaled({ from = constant }, real.scaler)
        return column, column
    elseif index and real.scaler.kind == "target" then
        return { from = batch.transformed, sub = batch.center, div = batch.scale, absent = 0 },
            NOTHING
    elseif index then
        return metric_history(batch, index, real.scaler), NOTHING
    end
    return nil, "the model reads " .. real.name .. ", which this fleet does not have"
end

-- Codes of the status over time: our numbering of the states, from 0, to the model's. Who never
-- said is taken for healthy.
local function status_history(batch, classes)
    local codes = {}
    for index, state in ipairs(states) do
        codes[index] = classes[state] or 0
    end
    return { from = batch.values, column = #metrics + 1, forward = true, map = codes,
        absent = classes.healthy or 0 }
end

local function categorical_column(batch, _, categorical)
    if categorical.name == "profile" then
        local codes = {}
        for index, profile in ipairs(batch.profiles) do
            codes[index] = categorical.classes[profile] or 0
        end
        local whole = { from = per_server(batch, md.tensor.from(codes)) }
        return whole, whole
    elseif categorical.name == "status" then
        return status_history(batch, categorical.classes), NOTHING
    end
    return nil, "the model reads " .. categorical.name .. ", which this fleet does not have"
end

-- All variables side by side, history and future, each [servers, steps, variables]; or nil and why
-- not. Rows shorter than the batch move to its beginning; zeros pad their end.
local function side_by_side(batch, config, variables, column_of, dtype)
    local past, ahead = {}, {}
    for index, variable in ipairs(variables) do
        past[index], ahead[index] = column_of(batch, config, variable)
        if not past[index] then
            return nil, ahead[index]
        end
    end
    return md.tensor.columns(past, { rows = batch.servers, steps = batch.past, dtype = dtype,
            lengths = batch.lengths }),
        md.tensor.columns(ahead, { rows = batch.servers, steps = batch.future, dtype = dtype })
end

-- ---- the whole -----------------------------------------------------------------------------

local function whole_numbers(values)
    return md.tensor.from(values, "int64")
end

-- The model's inputs for `batch`: names, profiles and lengths (arrays, one entry a server; length
-- = steps of history), values [servers, steps, COLUMNS] ending at end_ms, step_s. Returns nil and
-- why when the model asks for what a fleet does not have.
function features.build(config, batch)
    local past, future = batch.values:dim(2), config.dataset.max_prediction_length
    batch.servers, batch.past, batch.future, batch.steps = #batch.names, past, future, past + future
    batch.calendar = md.calendar {
        start_ms = batch.end_ms - past * batch.step_s * 1000,
        step_s = batch.step_s, count = batch.steps, fields = CALENDAR,
        timezone = md.config.timezone,
    }:reshape { 1, batch.steps, #CALENDAR }
    local transformed, why = transformed_target(config, batch)
    if not transformed then
        return nil, why
    end
    batch.transformed = transformed
    local target_scale = target_scales(config, batch, transformed)
    batch.center, batch.scale = target_scale:slice(2, 1, 1), target_scale:slice(2, 2, 2)

    local dataset = config.dataset
    local cont, cont_ahead = side_by_side(batch, config, dataset.reals, real_column)
    local cat, cat_ahead =
        side_by_side(batch, config, dataset.categoricals, categorical_column, "int64")
    if not cont or not cat then
        return nil, not cont and cont_ahead or cat_ahead
    end
    local decoder_lengths = {}
    for index = 1, batch.servers do
        decoder_lengths[index] = future
    end
    return {
        encoder_cont = cont,
        encoder_cat = cat,
        encoder_lengths = whole_numbers(batch.lengths),
        decoder_cont = cont_ahead,
        decoder_cat = cat_ahead,
        decoder_lengths = whole_numbers(decoder_lengths),
        target_scale = target_scale,
    }
end

return features
