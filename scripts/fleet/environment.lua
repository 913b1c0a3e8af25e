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

policy.by_metric("environment.lua", "HIGH", HIGH, policy.pair)
policy.by_metric("environment.lua", "LOW", LOW, policy.pair)

local environment = { NEAR_MIN = NEAR_MIN, HIGH = HIGH, LOW = LOW }

-- The warning (1) or critical (2) limits of all metrics, to meet [servers, metrics]; `never` is
-- what no value passes.
local function limits(judged, place, never)
    local list = {}
    for index, metric in ipairs(metrics) do
        list[index] = judged[metric.name] and judged[metric.name][place] or never
    end
    return md.tensor.from(list)
end

-- One where a limit is passed: `peaks` has p50_max, p90_max and p50_min, [servers, metrics].
local function passing(peaks, place)
    local high = limits(HIGH, place, math.huge)
    local above = peaks.p50_max:gt(high):max(peaks.p90_max:gt(high:add(PESSIMIST_MARGIN)))
    return above:max(peaks.p50_min:lt(limits(LOW, place, -math.huge)))
end

-- Probability of each server, a list, over one span ("near" or "far") of `steps` steps, from the
-- peaks of its forecasts there.
function environment.servers(span_name, peaks, steps)
    local span = SPANS[span_name]
    local critical = passing(peaks, 2)
    local warning = passing(peaks, 1):mul(critical:neg():add(1))
    local criticals, warnings = critical:sum(2):totable(), warning:sum(2):totable()
    local list = {}
    for index, count in ipairs(criticals) do
        local probability = count * span.critical + warnings[index] * span.warning
        list[index] = steps < span.steps_min and 0 or math.min(1, probability)
    end
    return list
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
