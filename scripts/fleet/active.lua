-- Alerts as dashboards read them: the `alerts` of /predictions/current and /alerts/active, made
-- from what the alert engine says (md.alerts.active). A dashboard shows one line a server and
-- metric, so of several rules that fire for the same, the most severe stands for all.

local md = require "moondial"

local RANKS = { critical = 1, warning = 2, info = 3 }

local active = {}

local function rank(alert)
    return RANKS[alert.severity] or 4
end

local function rounded(value)
    return value and math.floor(value * 1e4 + 0.5) / 1e4
end

local function time_of(ms)
    return ms and md.time.iso(ms)
end

-- Fields as the Python daemon had them, then ours.
local function entry_of(alert)
    return {
        server = alert.server,
        metric = alert.metric,
        severity = alert.severity,
        predicted_value = rounded(alert.value),
        threshold = rounded(alert.limit),
        steps_ahead = alert.lead_steps,
        minutes_ahead = alert.lead_min,
        message = alert.annotations.summary or alert.rule .. ": " .. alert.server,
        critical_minutes_ahead = alert.severity == "critical" and alert.lead_steps > 0
            and alert.lead_min or nil,
        rule = alert.rule,
        state = alert.state,
        since = time_of(alert.fired_ms or alert.active_ms),
        fingerprint = alert.fingerprint,
        annotations = alert.annotations,
        silenced_by = alert.silenced_by,
        inhibited_by = alert.inhibited_by,
        maintenance = alert.maintenance,
    }
end

local function is_worse(alert, than)
    if rank(alert) ~= rank(than) then
        return rank(alert) < rank(than)
    end
    return alert.lead_steps < than.lead_steps
end

-- Most severe first, then the soonest; equal ones keep the order they came in.
function active.sort(list)
    local place = {}
    for index, alert in ipairs(list) do
        place[alert] = index
    end
    table.sort(list, function(a, b)
        if rank(a) ~= rank(b) then
            return rank(a) < rank(b)
        elseif a.minutes_ahead ~= b.minutes_ahead then
            return a.minutes_ahead < b.minutes_ahead
        end
        return place[a] < place[b]
    end)
    return list
end

-- The list of entries for a list of alerts.
function active.of(alerts)
    local order, worst = {}, {}
    for _, alert in ipairs(alerts) do
        local about = alert.metric ~= "" and alert.metric or "rule " .. alert.rule
        local key = alert.server .. "\0" .. about
        if not worst[key] then
            order[#order + 1] = key
        end
        if not worst[key] or is_worse(alert, worst[key]) then
            worst[key] = alert
        end
    end
    local list = {}
    for index, key in ipairs(order) do
        list[index] = entry_of(worst[key])
    end
    return active.sort(list)
end

return active
