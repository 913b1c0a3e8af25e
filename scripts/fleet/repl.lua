-- What `moondial repl` offers for this service, beside what it has for all (lua/README.md). It
-- builds the answer anew with this session's files, so a changed table of risks shows at once;
-- nobody else sees it. Alerts are the daemon's own.

local md = require "moondial"
local fleet = require "fleet"

local function answer()
    local made, why = fleet.answer()
    if not made then
        error(why.detail, 0)
    end
    return md.json.decode(made.document:text())
end

local function series_of(quantiles)
    local tensors = {}
    for name, values in pairs(quantiles) do
        if type(values) == "table" and type(values[1]) == "number" then
            tensors[name] = md.tensor.from(values)
        end
    end
    return tensors
end

-- All of a server's answer, or the quantiles of one metric as tensors.
local function forecast(server, metric)
    local found = answer().predictions[server]
    if not found then
        error(("no forecast of '%s'"):format(tostring(server)), 0)
    elseif metric == nil then
        return found
    elseif type(found[metric]) ~= "table" then
        error(("no forecast of %s's '%s'"):format(server, tostring(metric)), 0)
    end
    return series_of(found[metric])
end

local function alerts(state)
    return fleet.alerts(state)
end

return {
    forecast = { run = forecast,
        help = "forecast(server [, metric])  the answer for a server; a metric's quantiles" },
    alerts = { run = alerts,
        help = "alerts([state])  those that fire; or are pending, resolved, all" },
}
