-- What policies judge, by names: values of many servers [servers, columns], a column for each
-- metric and one more, cpu_used_pct: what is not idle, or user time where idle is not reported.

local md = require "moondial"
local metrics = require "metrics"

local NAN = 0 / 0

local PLACES = { cpu_used_pct = #metrics + 1 }
for index, metric in ipairs(metrics) do
    PLACES[metric.name] = index
end

local columns = {}

-- Where the columns of some names stand, for values:select(2, places).
function columns.places(names)
    local places = {}
    for index, name in ipairs(names) do
        places[index] = PLACES[name]
    end
    return places
end

-- One metric [servers, 1] of `values`, or [servers, 1, steps].
function columns.one(values, name)
    return values:slice(2, PLACES[name], PLACES[name])
end

-- From metrics [servers, metrics]. `idle` [servers, 1]: unless it is the metric of that name.
function columns.of(values, idle)
    idle = idle or columns.one(values, "cpu_idle_pct")
    local used = idle:isnan():where(columns.one(values, "cpu_user_pct"), idle:neg():add(100))
    return md.tensor.concat({ values, used }, 2)
end

-- Of so many servers, from { name = { a number for each } }; what is not there was never sent.
function columns.from(servers, named)
    local rows = {}
    for server = 1, servers do
        rows[server] = {}
        for name, place in pairs(PLACES) do
            rows[server][place] = named[name] and named[name][server] or NAN
        end
    end
    return md.tensor.from(rows)
end

return columns
