-- The fleet as a whole: how likely is an incident in the next 30 minutes, and in the forecast span.
--
-- Each metric of a server that is forecast to pass a limit adds to the server's probability, up to
-- one; the fleet's probability is the mean over its servers. A high metric counts when its median
-- passes the limit, or its 90 % quantile passes it by more than 5. For cpu_idle_pct low is bad, and
-- the median alone decides.

local md = require "moondial"
local metrics = require "metrics"
local policy = require "policy"

local NEAR_MIN = 30
local PESSIMIST_MARGIN = 5

local HIGH = { -- { warning, critical }
    cpu_user_pct = { 80, 90 },
    cpu_sys_pct = { 50, 70 },
    cpu_iowait_pct = { 20, 40 },
    mem_used_pct = { 85, 95 },
    swap_used_pct = { 10, 30 },
    disk_usage_pct = { 80, 90 },
    java_cpu_pct = { 70, 85 },
}
local LOW = { cpu_idle_pct = { 20, 10 } }

-- Added per metric; `steps_min` is the shortest forecast that says anything about the span.
local SPANS = {
    near = { critical = 0.25, warning = 0.10, steps_min = 6 },
    far = { critical = 0.20, warning = 0.08, steps_min = 20 },
}

local HIGH_RISK_ABOVE = 0.5
local FLEET_HEALTH = { { "critical", 0.6 }, { "warning", 0.3 } }

policy.by_forecast("environment.lua", "HIGH", HIGH, policy.pair)
policy.by_forecast("environment.lua", "LOW", LOW, policy.pair)
policy.numbers_by("environment.lua", "SPANS", SPANS, { "near", "far" },
    { critical = { 0, 1 }, warning = { 0, 1 }, steps_min = { 1, math.huge } })

-- How bad a metric gets; 0: it passes no limit. A comparison that is true gives WARNING.
local WARNING, CRITICAL = 1, 2

local environment = { NEAR_MIN = NEAR_MIN, HIGH = HIGH, LOW = LOW }

-- The metrics that `judged` (HIGH, LOW) names stand from place `first` to `last`; the limits that
-- they meet as [servers, metrics, steps], `never` for those between that it does not name.
local function watched(judged, never)
    local first, last = #metrics, 1
    for index, metric in ipairs(metrics) do
        if judged[metric.name] then
            first, last = math.min(first, index), math.max(last, index)
        end
    end
    if first > last then -- it names none
        first, last = 1, 0
    end
    local warning, critical = {}, {}
    for index = first, last do
        local limits = judged[metrics[index].name] or { never, never }
        warning[#warning + 1], critical[#critical + 1] = limits[1], limits[2]
    end
    local shape = { 1, #warning, 1 }
    return { first = first, last = last, warning = md.tensor.from(warning):reshape(shape),
        critical = md.tensor.from(critical):reshape(shape) }
end

local WATCHED_HIGH, WATCHED_LOW = watched(HIGH, math.huge), watched(LOW, -math.huge)

-- How bad each metric [servers, metrics] gets in the worst step of the forecasts.
local function severities_high(p50, p90)
    local limits = WATCHED_HIGH
    local function of(quantile)
        return quantile:slice(2, limits.first, limits.last)
    end
    local worst = of(p50):max(of(p90):sub(PESSIMIST_MARGIN))
    return worst:gt(limits.critical):mul(CRITICAL):max(worst:gt(limits.warning)):amax(3)
end

local function severities_low(p50)
    local limits = WATCHED_LOW
    local median = p50:slice(2, limits.first, limits.last)
    return median:lt(limits.critical):mul(CRITICAL):max(median:lt(limits.warning)):amax(3)
end

-- Per cent that the metrics of each server add: whole numbers as a rule, whose sums are exact.
local function percent_of(severities, span)
    return severities:grade({ { CRITICAL, 100 * span.critical }, { WARNING, 100 * span.warning } })
        :sum(2)
end

-- Probability of each server, [servers] in per cent, over one span ("near" or "far"), from its
-- forecasts there, [servers, metrics, steps].
function environment.servers(span_name, p50, p90)
    local span = SPANS[span_name]
    if p50:dim(3) < span.steps_min then
        return md.tensor.zeros { p50:dim(1) }
    end
    return percent_of(severities_high(p50, p90), span)
        :add(percent_of(severities_low(p50), span)):min(100)
end

local function health_of(near)
    for _, step in ipairs(FLEET_HEALTH) do
        if near > step[2] then
            return step[1]
        end
    end
    return "healthy"
end

-- The answer's `environment`, from the servers' probabilities, [servers] in per cent.
function environment.fleet(near_of, far_of)
    local count = math.max(1, #near_of)
    local near, far = near_of:sum() / (100 * count), far_of:sum() / (100 * count)
    return {
        prob_30m = near,
        prob_8h = far,
        incident_probability_30m = near,
        incident_probability_8h = far,
        high_risk_servers = near_of:gt(100 * HIGH_RISK_ABOVE):sum(),
        total_servers = #near_of,
        fleet_health = #near_of == 0 and "unknown" or health_of(near),
    }
end

return environment
