-- The fleet as a whole: how likely is an incident in the next 30 minutes, and in the forecast span.
--
-- Each metric of a server that is forecast to pass a limit adds to the server's probability, up to
-- one; the fleet's probability is the mean over its servers. A high metric counts when its median
-- passes the limit, or its 90 % quantile passes it by more than 5. For cpu_idle_pct low is bad, and
-- the median alone decides.

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

policy.by_metric("environment.lua", "HIGH", HIGH, policy.pair)
policy.by_metric("environment.lua", "LOW", LOW, policy.pair)

local environment = { NEAR_MIN = NEAR_MIN, HIGH = HIGH, LOW = LOW }

-- Whether a metric counts at all.
function environment.judges(metric)
    return HIGH[metric] ~= nil or LOW[metric] ~= nil
end

local function passes_high(limit, p50_max, p90_max)
    return p50_max > limit or p90_max > limit + PESSIMIST_MARGIN
end

local function severity_of(metric, peak)
    local high, low = HIGH[metric], LOW[metric]
    if high and peak.p50_max then
        return passes_high(high[2], peak.p50_max, peak.p90_max) and "critical"
            or passes_high(high[1], peak.p50_max, peak.p90_max) and "warning" or nil
    elseif low and peak.p50_min then
        return peak.p50_min < low[2] and "critical" or peak.p50_min < low[1] and "warning" or nil
    end
end

-- Probability of one server over one span ("near" or "far"): `peaks` holds, per metric,
-- { p50_max, p90_max } or, for metrics where low is bad, { p50_min } over the span.
function environment.server(span_name, peaks, steps)
    local span, probability = SPANS[span_name], 0
    if steps < span.steps_min then
        return 0
    end
    for metric, peak in pairs(peaks) do
        local severity = severity_of(metric, peak)
        probability = probability + (severity and span[severity] or 0)
    end
    return math.min(1, probability)
end

local function health_of(near)
    for _, step in ipairs(FLEET_HEALTH) do
        if near > step[2] then
            return step[1]
        end
    end
    return "healthy"
end

-- The answer's `environment`, from each server's { near = , far = } probabilities.
function environment.fleet(servers)
    local near, far, high_risk = 0, 0, 0
    for _, server in ipairs(servers) do
        near, far = near + server.near, far + server.far
        high_risk = high_risk + (server.near > HIGH_RISK_ABOVE and 1 or 0)
    end
    local count = math.max(1, #servers)
    near, far = near / count, far / count
    return {
        prob_30m = near,
        prob_8h = far,
        incident_probability_30m = near,
        incident_probability_8h = far,
        high_risk_servers = high_risk,
        total_servers = #servers,
        fleet_health = #servers == 0 and "unknown" or health_of(near),
    }
end

return environment
