-- What a client asks for of /predictions/current:
--
--     ?servers=ppdb001,ppdb002&metrics=cpu_user_pct&quantiles=p50&horizon=12
--
-- Names are separated by commas, the horizon is in steps; what is not asked about is answered in
-- full.

local check = require "moondial.check"
local forecast = require "forecast"
local metrics = require "metrics"

local function names_of(entries)
    local names = {}
    for index, entry in ipairs(entries) do
        names[index] = entry.name
    end
    return names
end

local METRICS = check.set_of(names_of(metrics))

-- Lists that a query may have: what may stand in them, and what to call it.
local LISTS = {
    { field = "servers", what = "server with a forecast", known = function(made)
        return check.set_of(made.names)
    end },
    { field = "metrics", what = "metric", known = function()
        return METRICS
    end },
    { field = "quantiles", what = "quantile (p10, p50, p90)", known = function()
        return forecast.SHOWN
    end },
}

local asked = {
    -- `servers` nil: all of them; `steps` nil: to the end.
    EVERYTHING = { metrics = METRICS, quantiles = forecast.SHOWN },
}

-- Whether a query asks for less than everything.
function asked.for_less(query)
    return (query.servers or query.metrics or query.quantiles or query.horizon) ~= nil
end

-- The names in `text` as a set, or nil and the first that is not known.
local function read_list(text, known)
    local names = {}
    for name in (text .. ","):gmatch "([^,]*)," do
        if not known[name] then
            return nil, name
        end
        names[name] = true
    end
    return names
end

local function problem(field, detail, ...)
    return nil, { detail = detail:format(...), code = "INVALID", field = field }
end

-- What `query` asks for of a forecast (forecast.fleet), like EVERYTHING; or nil and what is wrong.
function asked.of(query, made)
    local wanted = { metrics = METRICS, quantiles = forecast.SHOWN }
    for _, list in ipairs(LISTS) do
        local text = query[list.field]
        if text then
            local names, unknown = read_list(text, list.known(made))
            if not names then
                return problem(list.field, "%s: '%s' is no %s", list.field, unknown, list.what)
            end
            wanted[list.field] = names
        end
    end
    if query.horizon then
        local steps = tonumber(query.horizon)
        if not (steps and steps >= 1 and steps <= made.steps and steps % 1 == 0) then
            return problem("horizon", "horizon is a whole number of steps up to %d", made.steps)
        end
        wanted.steps = steps
    end
    return wanted
end

return asked
