-- What `moondial repl` offers for this service, beside what it has for all (lua/README.md). They
-- build the answer anew with this session's files, so a changed threshold shows at once; nobody
-- else sees it.

local md = require "moondial"
local fleet = require "fleet"

local function answer()
    local made, why = fleet.answer()
    if not made then
        error(why.detail, 0)
    end
    return made, md.json.decode(made.document:text())
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
    local _, document = answer()
    local found = document.predictions[server]
    if not found then
        error(("no forecast of '%s'"):format(tostring(server)), 0)
    elseif metric == nil then
        return found
    elseif type(found[metric]) ~= "table" then
        error(("no forecast of %s's '%s'"):format(server, tostring(metric)), 0)
    end
    return series_of(found[metric])
end

local function alerts()
    return (answer()).alerts
end

return {
    forecast = { run = forecast,
        help = "forecast(server [, metric])  the answer for a server; a metric's quantiles" },
    alerts = { run = alerts, help = "alerts()  those of the current forecast" },
}
