-- Which forecasts are worth waking somebody.
--
-- A metric alerts when its median forecast reaches the limit within the next hour. There is one
-- alert per server and metric: the first step that reaches any limit. When a later step within the
-- hour reaches the critical limit as well, the alert says when (critical_minutes_ahead).

local policy = require "policy"

local WITHIN_MIN = 60

-- At or above. Profiles may have limits of their own; what is not named stays as in `default`.
local LIMITS = {
    default = {
        cpu_user_pct = { critical = 95, warning = 85 },
        mem_used_pct = { critical = 98, warning = 90 },
        cpu_iowait_pct = { critical = 30, warning = 20 },
        swap_used_pct = { critical = 50, warning = 25 },
        disk_usage_pct = { critical = 95, warning = 85 },
    },
}

policy.by_profile("alerts.lua", "LIMITS", LIMITS, policy.limits)

local alerts = { WITHIN_MIN = WITHIN_MIN, LIMITS = LIMITS }

-- The limits of a metric for a profile, nil when the metric never alerts.
function alerts.limits(profile, metric)
    local special = LIMITS[profile]
    return special and special[metric] or LIMITS.default[metric]
end

-- Number of forecast steps that alerts look at.
function alerts.horizon_steps(step_min)
    return math.floor(WITHIN_MIN / step_min)
end

-- The alert of one server and metric, or nil. `values` are the median forecasts of the first steps
-- (horizon_steps of them); step i is i * step_min minutes ahead.
function alerts.of(server, profile, metric, values, step_min)
    local limits = alerts.limits(profile, metric)
    if not limits then
        return nil
    end
    local alert
    for step, value in ipairs(values) do
        local critical = value >= limits.critical
        if not alert and (critical or value >= limits.warning) then
            alert = {
                server = server,
                metric = metric,
                severity = critical and "critical" or "warning",
                predicted_value = value,
                threshold = critical and limits.critical or limits.warning,
                steps_ahead = step,
                minutes_ahead = step * step_min,
                message = ("%s: %s predicted to reach %.1f"):format(server, metric, value),
            }
        end
        if critical then
            alert.critical_minutes_ahead = step * step_min
            break
        end
    end
    return alert
end

-- Critical first, then the soonest; equal ones keep the order they came in.
function alerts.sort(list)
    local place = {}
    for index, alert in ipairs(list) do
        place[alert] = index
    end
    table.sort(list, function(a, b)
        if a.severity ~= b.severity then
            return a.severity == "critical"
        elseif a.minutes_ahead ~= b.minutes_ahead then
            return a.minutes_ahead < b.minutes_ahead
        end
        return place[a] < place[b]
    end)
    return list
end

return alerts
