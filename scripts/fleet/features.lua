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
    return transform(clip and values:clip(clip[1], clip[2]) or values)
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

-- ---- real variables ------------------------------------------------------------------------

local function scaled(values, scaler)
    if scaler.kind == "standard" then
        return values:sub(scaler.mean):div(scaler.scale)
    end
    return values
end

-- One number per server as [servers, 1, 1].
local function per_server(values)
    return values:reshape { values:dim(1), 1, 1 }
end

-- Variables that can be known ahead, over history and future: [servers, steps, 1], where a size of
-- 1 stands for what is the same for all.
local KNOWN = {
    relative_time_idx = function(batch, config)
        return md.tensor.range(-batch.past, batch.future - 1):div(config.max_encoder_length)
            :reshape { 1, batch.steps, 1 }
    end,
    encoder_length = function(batch, config)
        local half = config.max_encoder_length / 2
        return per_server(md.tensor.from(batch.lengths):sub(half):div(half))
    end,
}
for index, name in ipairs(CALENDAR) do
    KNOWN[name] = function(batch)
        return batch.calendar:slice(2, index, index):reshape { 1, batch.steps, 1 }
    end
end

local function target_scale_column(batch, target, name)
    local part = name == target .. "_center" and 1 or name == target .. "_scale" and 2
    return part and per_server(batch.target_scale:slice(2, part, part):reshape { batch.servers })
end

-- History of the target, scaled; one that was never sent is told as the scaler's mean.
local function target_history(batch)
    local center = per_server(batch.target_scale:slice(2, 1, 1):reshape { batch.servers })
    local scale = per_server(batch.target_scale:slice(2, 2, 2):reshape { batch.servers })
    local values = batch.transformed:sub(center):div(scale)
    return values:isnan():where(0, values)
end

-- History of all metrics, scaled, [servers, steps, metrics]. One that was never sent is told as its
-- `absent` value, or as the scaler's mean. Metrics that the model does not read stay as they are.
local function metric_histories(batch, reals)
    local means, scales, unsent = {}, {}, {}
    for index in ipairs(metrics) do
        means[index], scales[index], unsent[index] = 0, 1, 0
    end
    for _, real in ipairs(reals) do
        local index = metric_index[real.name]
        if index and real.scaler.kind == "standard" then
            local absent = metrics[index].absent
            means[index], scales[index] = real.scaler.mean, real.scaler.scale
            unsent[index] = absent and (absent - real.scaler.mean) / real.scaler.scale or 0
        elseif index then
            unsent[index] = metrics[index].absent or 0
        end
    end
    local function per_metric(numbers)
        return md.tensor.from(numbers):reshape { 1, 1, #metrics }
    end
    local values = batch.filled:sub(per_metric(means)):div(per_metric(scales))
    return values:isnan():where(per_metric(unsent), values)
end

-- A variable over history and future, [servers, steps, 1] each; for a metric, its place in
-- metric_histories instead. Nil and why not for what a fleet does not have.
local function real_column(batch, config, real)
    local index = metric_index[real.name]
    local thin = KNOWN[real.name] and KNOWN[real.name](batch, config)
        or target_scale_column(batch, config.targets[1].name, real.name)
    if thin then
        local whole = scaled(thin, real.scaler):expand { batch.servers, batch.steps, 1 }
        return { past = whole:slice(2, 1, batch.past),
            ahead = whole:slice(2, batch.past + 1, batch.steps) }
    elseif index and real.scaler.kind == "target" then
        return { past = target_history(batch),
            ahead = md.tensor.zeros { batch.servers, batch.future, 1 } }
    elseif index then
        return { first = index, last = index }
    end
    return nil, "the model reads " .. real.name .. ", which this fleet does not have"
end

-- All variables side by side: history and future, or nil and why not. Metrics that stand together
-- are moved together.
local function real_columns(batch, config)
    local reals, columns = config.dataset.reals, {}
    for _, real in ipairs(reals) do
        local column, why = real_column(batch, config, real)
        local before = columns[#columns]
        if not column then
            return nil, why
        elseif before and before.last and before.last + 1 == column.first then
            before.last = column.last
        else
            columns[#columns + 1] = column
        end
    end
    local histories, past, ahead = metric_histories(batch, reals), {}, {}
    for index, column in ipairs(columns) do
        local width = column.first and column.last - column.first + 1
        past[index] = column.past or histories:slice(3, column.first, column.last)
        ahead[index] = column.ahead or md.tensor.zeros { batch.servers, batch.future, width }
    end
    return md.tensor.concat(past, 3), md.tensor.concat(ahead, 3)
end

-- ---- categorical variables -----------------------------------------------------------------

-- Codes of the status over time: our numbering of the states to the model's.
local function status_codes(batch, classes)
    local ours = batch.status:fill_forward(2)
    local codes = md.tensor.zeros { batch.servers, batch.past, 1 }
    for index, state in ipairs(states) do
        codes = codes:add(ours:eq(index - 1):mul(classes[state] or 0))
    end
    -- Who never said is taken for healthy.
    return ours:isnan():where(classes.healthy or 0, codes)
end

local function categorical_column(batch, categorical)
    if categorical.name == "profile" then
        local codes = {}
        for index, profile in ipairs(batch.profiles) do
            codes[index] = categorical.classes[profile] or 0
        end
        local whole = per_server(md.tensor.from(codes)):expand { batch.servers, batch.steps, 1 }
        return whole:slice(2, 1, batch.past), whole:slice(2, batch.past + 1, batch.steps)
    elseif categorical.name == "status" then
        return status_codes(batch, categorical.classes),
            md.tensor.zeros { batch.servers, batch.future, 1 }
    end
    return nil, "the model reads " .. categorical.name .. ", which this fleet does not have"
end

-- Columns of the categorical variables side by side: history and future, or nil and why not.
local function categorical_columns(batch, config)
    local past, ahead = {}, {}
    for index, categorical in ipairs(config.dataset.categoricals) do
        past[index], ahead[index] = categorical_column(batch, categorical)
        if not past[index] then
            return nil, ahead[index]
        end
    end
    return md.tensor.concat(past, 3), md.tensor.concat(ahead, 3)
end

-- ---- the whole -----------------------------------------------------------------------------

-- Rows shorter than the batch move to its beginning; zeros pad their end.
local function left_aligned(rows, lengths)
    local steps, width = rows:dim(2), rows:dim(3)
    if math.min(steps, unpack(lengths)) == steps then
        return rows
    end
    local moved = {}
    for index, length in ipairs(lengths) do
        local row = rows:row(index)
        if length < steps then
            local known = row:slice(1, steps - length + 1, steps)
            row = md.tensor.concat({ known, md.tensor.zeros { steps - length, width } }, 1)
        end
        moved[index] = row
    end
    return md.tensor.stack(moved)
end

local function whole_numbers(values)
    return md.tensor.from(values):astype "int64"
end

-- The model's inputs for `batch`: names, profiles and lengths (arrays, one entry a server; length
-- = steps of history), values [servers, steps, COLUMNS] ending at end_ms, step_s. Returns nil and
-- why when the model asks for what a fleet does not have.
function features.build(config, batch)
    local past, future = batch.values:dim(2), config.dataset.max_prediction_length
    batch.servers, batch.past, batch.future, batch.steps = #batch.names, past, future, past + future
    batch.filled = batch.values:slice(3, 1, #metrics):fill_forward(2)
    batch.status = batch.values:slice(3, #metrics + 1, #metrics + 1)
    batch.calendar = md.calendar {
        start_ms = batch.end_ms - past * batch.step_s * 1000,
        step_s = batch.step_s, count = batch.steps, fields = CALENDAR,
        timezone = md.config.timezone,
    }
    local transformed, why = transformed_target(config, batch)
    if not transformed then
        return nil, why
    end
    batch.transformed = transformed
    batch.target_scale = target_scales(config, batch, transformed)

    local cont, cont_ahead = real_columns(batch, config)
    local cat, cat_ahead = categorical_columns(batch, config)
    if not cont or not cat then
        return nil, not cont and cont_ahead or cat_ahead
    end
    local decoder_lengths = {}
    for index = 1, batch.servers do
        decoder_lengths[index] = future
    end
    return {
        encoder_cont = left_aligned(cont, batch.lengths),
        encoder_cat = left_aligned(cat, batch.lengths):astype "int64",
        encoder_lengths = whole_numbers(batch.lengths),
        decoder_cont = cont_ahead,
        decoder_cat = cat_ahead:astype "int64",
        decoder_lengths = whole_numbers(decoder_lengths),
        target_scale = batch.target_scale,
    }
end

return features
