-- Forecasts without a model: a straight line through the recent past with a widening band.
--
--     trend    least-squares slope over the last two dozen steps
--     p50      the present value + trend x i, for step i = 1 ... , kept within the metric's range
--     p10/p90  p50 -/+ spread x noise x sqrt(i); noise is the standard deviation of those steps
--
-- Used for every metric of a server whose history is too short for the model ("alone"), and for
-- the metrics that the model does not forecast ("beside"). All arithmetic is on tensors; nothing
-- here loops over values. The lines are lazy tensors: they are drawn, from a few numbers each,
-- where somebody looks at them, and where the answer is written.

local md = require "moondial"
local metrics = require "metrics"

local WINDOW_STEPS = 24

local FORMULAS = {
    -- The last five steps count for 30 % of the slope; 1.28 standard deviations are 80 % of a
    -- normal distribution.
    alone = { recent_steps = 5, recent_share = 0.3, spread = 1.28, noise_unknown = 1.0,
        whole_bands = false },
    -- One slope, bands of one standard deviation; the upper band of a count is a whole number.
    beside = { recent_share = 0, spread = 1.0, noise_unknown = 2.0, whole_bands = true },
}

-- Fewer known values than these: no noise estimate, no separate slope of the latest steps.
local NOISE_VALUES_MIN = 3
local RECENT_VALUES_MIN = 6

-- Added before a count is cut to a whole number, so that 3 does not become 2 for want of 1e-7.
local WHOLE_SLACK = 1e-3

local trend = { WINDOW_STEPS = WINDOW_STEPS, FORMULAS = FORMULAS }

-- One number per metric as a [1, metrics, 1] tensor, ready to meet [servers, metrics, steps].
local function per_metric(number_of)
    local numbers = {}
    for index, metric in ipairs(metrics) do
        numbers[index] = number_of(metric)
    end
    return md.tensor.from(numbers):reshape { 1, #metrics, 1 }
end

local CEILINGS = per_metric(function(metric)
    return metric.ceiling or math.huge
end)
local WHOLE = per_metric(function(metric)
    return metric.whole and 1 or 0
end)

local function nothing_for_nan(values)
    return values:isnan():where(0, values)
end

-- Slope per step of each server and metric, 0 while there are not two values.
local function slope_of(recent, counts, formula)
    local whole = nothing_for_nan(recent:slope(2))
    if formula.recent_share == 0 then
        return whole
    end
    local steps = recent:dim(2)
    local tail = recent:slice(2, steps - formula.recent_steps + 1, steps):slope(2)
    local mixed = whole:mul(1 - formula.recent_share):add(tail:mul(formula.recent_share))
    local usable = counts:ge(RECENT_VALUES_MIN):mul(tail:isnan():neg():add(1))
    return usable:where(nothing_for_nan(mixed), whole)
end

local function cut(values)
    return values:add(WHOLE_SLACK):floor()
end

local function noise_of(recent, counts, formula)
    local deviation = nothing_for_nan(recent:nanstd(2))
    return counts:ge(NOISE_VALUES_MIN):where(deviation, formula.noise_unknown)
end

-- The lines that `fit` (trend.fit) describes: { p10 =, p50 =, p90 = }, lazy tensors
-- [servers, metrics, steps].
function trend.lines(fit, steps, formula)
    local ahead = md.tensor.range(1, steps)
    local ceiling = CEILINGS:max(fit.current)
    local p50 = fit.slope:lazy():mul(ahead):add(fit.current):max(0):min(ceiling)
    p50 = WHOLE:where(cut(p50), p50)
    local width = fit.noise:mul(formula.spread):lazy():mul(ahead:sqrt())
    local p10, p90 = p50:sub(width):max(0), p50:add(width)
    if formula.whole_bands then
        p90 = WHOLE:where(cut(p90), p90):min(ceiling)
    else
        p90 = WHOLE:where(p90, p90:min(ceiling))
    end
    return { p10 = p10, p50 = p50, p90 = p90 }
end

-- What trends need to know of `window` [servers, steps, metrics], NaN where nothing was sent: the
-- present values, slopes and noise, each [servers, metrics, 1]. Metrics that a server never sent
-- have NaN.
function trend.fit(window, formula)
    local servers, past = window:dim(1), window:dim(2)
    local first = past - WINDOW_STEPS + 1
    local recent = first > 1 and window:slice(2, first, past) or window
    local counts = recent:count_finite(2)
    local shape = { servers, #metrics, 1 }
    return {
        current = recent:nanlast(2):reshape(shape),
        slope = slope_of(recent, counts, formula):reshape(shape),
        noise = noise_of(recent, counts, formula):reshape(shape),
    }
end

return trend
