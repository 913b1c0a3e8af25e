-- What a case's `values` and `forecasts` say, checked against the app: by server and column, step
-- by step. Step 1 is the first after the case's begin and closes step_min later; from then on rules
-- see its values.

local check = require "moondial.check"
local native = require "moondial.native_test"
local notation = require "moondial.test.notation"

local series = {}

local function raise(...)
    error({ is_mistake = true, text = (...):format(select(2, ...)) }, 0)
end
series.raise = raise

-- The series that a case is about: the one that it names, the alerts', or the first. With its
-- columns by name.
function series.described(name)
    local app = native.app()
    name = name or (app.alerts and app.alerts.series)
    for _, candidate in ipairs(app.series) do
        if name == nil or candidate.name == name then
            local columns = {}
            for _, column in ipairs(candidate.columns) do
                columns[column.name] = column
            end
            return { name = candidate.name, key = candidate.key, time = candidate.time,
                labels = candidate.labels, columns = candidate.columns, by_name = columns,
                step_ms = candidate.step_s * 1000, grace_ms = candidate.grace_s * 1000,
                step_min = candidate.step_s / 60 }
        end
    end
    raise(name and "app.lua declares no series '%s'" or "app.lua declares no series", name)
end

local function is_label(described, name)
    for _, label in ipairs(described.labels) do
        if label == name then
            return true
        end
    end
    return name == "profile"
end

local function read_column(described, server, name, given)
    local column = described.by_name[name]
    local what = ("values.%s.%s"):format(server, tostring(name))
    if not column then
        raise("%s: no column of series %s is called that%s", what, described.name,
            check.suggestion(name, described.by_name))
    elseif column.values then -- named states: one that stays
        if not check.set_of(column.values)[given] then
            raise("%s: one of %s", what, table.concat(column.values, ", "))
        end
        return setmetatable({}, { __index = function()
            return given
        end })
    end
    local values, why = notation.values(given)
    if not values then
        raise("%s: %s", what, why)
    end
    return values
end

-- { [server] = { values = { [column] = list }, labels = { profile = "database" } } }
function series.values(described, given)
    local servers = {}
    if given ~= nil and type(given) ~= "table" then
        raise("values: a table by server, { ppdb001 = { cpu_user_pct = \"50x10\" } }")
    end
    for server, columns in pairs(given or {}) do
        if type(server) ~= "string" or type(columns) ~= "table" then
            raise("values: by server, { ppdb001 = { cpu_user_pct = \"50x10\" } }")
        end
        local read = { values = {}, labels = {} }
        for name, value in pairs(columns) do
            if is_label(described, name) then
                read.labels[name] = tostring(value)
            else
                read.values[name] = read_column(described, server, name, value)
            end
        end
        servers[server] = read
    end
    return servers
end

-- ---- forecasts -----------------------------------------------------------------------------

-- "p50" to 0.5
local function quantile_of(what, name)
    local percent = type(name) == "string" and tonumber(name:match "^p(%d+%.?%d*)$")
    if not (percent and percent > 0 and percent < 100) then
        raise("%s: a quantile is p50, p90 and so on, not '%s'", what, tostring(name))
    end
    return percent / 100
end

-- Of a list by minute (what holds from then on), the entry of this minute.
local function at_minute(by_minute, minute)
    local best
    for from in pairs(by_minute) do
        if type(from) == "number" and from <= minute and (not best or from > best) then
            best = from
        end
    end
    return best and by_minute[best] or nil
end

local function is_list(given)
    return type(given) == "table"
        and (type(given[1]) == "number" or given[1] == "_" or next(given) == nil)
end

-- The forecast made at a minute, a list (false: no value); nil: none. What a text stands for is
-- kept: it is mostly the same for many minutes.
local function forecast_at(what, given, minute, read)
    if type(given) == "function" then
        given = given(minute)
    elseif type(given) == "table" and not is_list(given) then
        given = at_minute(given, minute)
    end
    if given == nil or given == false then
        return nil
    end
    if not read[given] then
        local values, why = notation.values(given)
        if not values then
            raise("%s: %s", what, why)
        end
        read[given] = values
    end
    return read[given]
end

-- The channel of a column and quantile, made when there is none yet; `given` holds what the case
-- says of it, by server.
local function channel_of(channels, column, quantile)
    for _, channel in ipairs(channels) do
        if channel.column == column and math.abs(channel.quantile - quantile) < 1e-6 then
            return channel
        end
    end
    local channel = { column = column, quantile = quantile, given = {} }
    channels[#channels + 1] = channel
    return channel
end

local function add_given(channels, described, server, column, quantiles)
    local what = ("forecasts.%s.%s"):format(tostring(server), tostring(column))
    if not described.by_name[column] then
        raise("%s: no column of series %s is called that%s", what, described.name,
            check.suggestion(column, described.by_name))
    elseif type(quantiles) ~= "table" then
        raise("%s: by quantile, { p50 = \"96x12\" }", what)
    end
    for name, values in pairs(quantiles) do
        channel_of(channels, column, quantile_of(what, name)).given[server] = values
    end
end

-- One for each column and quantile that the case gives or a rule watches: where nothing is given,
-- nothing is forecast.
local function channels_of(described, given)
    local channels = {}
    local alerts = native.app().alerts
    for _, rule in ipairs(alerts and alerts.rules or {}) do
        for _, column in ipairs(rule.kind == "forecast" and rule.columns or {}) do
            channel_of(channels, column, rule.quantile)
        end
    end
    for server, columns in pairs(given or {}) do
        if type(columns) ~= "table" then
            raise("forecasts: by server, { ppdb001 = { cpu_user_pct = { p50 = \"96x12\" } } }")
        end
        for column, quantiles in pairs(columns) do
            add_given(channels, described, server, column, quantiles)
        end
    end
    return channels
end

-- What one channel holds at a minute; `last` is what it held before, and is given again when that
-- is still so.
local function made_at(channel, minute, read, last)
    local steps, of, same = 1, {}, last ~= nil
    for server, values in pairs(channel.given) do
        local what = ("forecasts.%s.%s"):format(server, channel.column)
        of[server] = forecast_at(what, values, minute, read)
        steps = math.max(steps, of[server] and #of[server] or 0)
        same = same and last.of[server] == of[server]
    end
    return same and last or { column = channel.column, quantile = channel.quantile,
        steps = steps, of = of }
end

-- The forecasts that are made at each minute: minute -> { { column =, quantile =, steps =, of = {
-- [server] = list } } }.
function series.forecasts(described, given)
    local channels, read, made = channels_of(described, given), {}, {}
    return function(minute)
        for index, channel in ipairs(channels) do
            made[index] = made_at(channel, minute, read, made[index])
        end
        return made
    end
end

-- The names of all servers of both, in byte order.
function series.names(values, forecasts)
    local set, names = {}, {}
    for _, map in ipairs { values, forecasts or {} } do
        for name in pairs(map) do
            if not set[name] then
                set[name], names[#names + 1] = true, name
            end
        end
    end
    table.sort(names)
    return names
end

return series
