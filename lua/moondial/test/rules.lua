-- Cases that say which alerts there are, minute by minute. The folder's rules are evaluated by an
-- engine of the case's own, on frames that are built from its `values` and `forecasts`: no clock,
-- no service, nothing kept; some microseconds a step.

local active = require "moondial.test.active"
local native = require "moondial.native_test"
local notation = require "moondial.test.notation"
local series = require "moondial.test.series"

local rules = {}

local NAN = 0 / 0
local STEPS_MAX = 100000

-- { [rule's name] = { [name of a label or annotation] = true } }
function rules.known()
    local app, known = native.app(), {}
    if not app.alerts then
        series.raise "app.lua has no alerts"
    end
    for _, rule in ipairs(app.alerts.rules) do
        local names = {}
        for _, list in ipairs { rule.labels or {}, rule.annotations or {} } do
            for _, entry in ipairs(list) do
                names[entry.name] = true
            end
        end
        known[rule.name] = names
    end
    return known
end

-- The minutes at which something is expected, in order.
local function minutes_of(case, described, known)
    local minutes = {}
    for minute, expected in pairs(case.alerts) do
        local fits = type(minute) == "number" and minute > 0
            and minute % described.step_min == 0 and minute / described.step_min <= STEPS_MAX
        if not fits then
            series.raise("alerts: [%s] is no minute at which a step closes: %g, %g, %g, ...",
                tostring(minute), described.step_min, 2 * described.step_min,
                3 * described.step_min)
        end
        local why = active.mistake(expected, known)
        if why then
            series.raise("alerts[%g]: %s", minute, why)
        end
        minutes[#minutes + 1] = minute
    end
    table.sort(minutes)
    return minutes
end

-- Which rules' alerts count: those that the case names, or all.
local function filter_of(case, known)
    if case.rules == nil then
        return nil
    end
    local wanted = {}
    for _, name in ipairs(type(case.rules) == "table" and case.rules or { case.rules }) do
        if not known[name] then
            series.raise("rules: no rule is named '%s'", tostring(name))
        end
        wanted[name] = true
    end
    return wanted
end

local function only(alerts, wanted)
    if not wanted then
        return alerts
    end
    local kept = {}
    for _, alert in ipairs(alerts) do
        if wanted[alert.rule] then
            kept[#kept + 1] = alert
        end
    end
    return kept
end

-- The profile whose limits hold: the case's, or what the app says of a server of that name.
local function profile_of(server, values)
    local given = values[server] and values[server].labels.profile
    if given then
        return given
    end
    local alerts = native.app().alerts
    local fine, profile = pcall(alerts.profile or tostring, server)
    return fine and alerts.profile and type(profile) == "string" and profile or ""
end

-- ---- frames --------------------------------------------------------------------------------

-- Named values are numbered from 0.
local function code_of(column, name)
    for index, candidate in ipairs(column.values) do
        if candidate == name then
            return index - 1
        end
    end
    return nil
end

-- Appends the closed step's values of one server; `known` stays with what was ever sent, until
-- "stale".
local function add_values(frame, described, server, step, known)
    for _, column in ipairs(described.columns) do
        local list = server and server.values[column.name]
        local value = list and list[step]
        local key = column.name
        if type(value) == "string" and value ~= "stale" then
            value = code_of(column, value)
        end
        if value == "stale" then
            known[key] = nil
        elseif value then
            known[key] = true
        end
        frame.values[#frame.values + 1] = type(value) == "number" and value or NAN
        frame.known[#frame.known + 1] = known[key] or false
    end
end

-- All servers' steps, one after the other; made once.
local function flat_values(channel, names)
    if not channel.values then
        channel.values = {}
        for _, name in ipairs(names) do
            local list = channel.of[name]
            for step = 1, channel.steps do
                channel.values[#channel.values + 1] = list and list[step] or NAN
            end
        end
    end
    return channel
end

-- Lists by name: of what the case gives, and of what rules watch, which is there without a value.
local function read_gauges(given)
    local gauges = {}
    for _, rule in ipairs(native.app().alerts.rules) do
        if rule.gauge then
            gauges[rule.gauge] = {}
        end
    end
    for name, text in pairs(given or {}) do
        local values, why = notation.values(text)
        if not values then
            series.raise("gauges[\"%s\"]: %s", tostring(name), why)
        end
        gauges[name] = values
    end
    return gauges
end

local function add_gauges(frame, gauges, step)
    for name, values in pairs(gauges) do
        local value = values[step]
        frame.gauges[#frame.gauges + 1] = { name = name,
            value = type(value) == "number" and value or NAN }
    end
end

-- ---- a case --------------------------------------------------------------------------------

-- A function that makes the frame of step 1, 2, ...
local function frames_of(case, described, names, values)
    local forecasts = series.forecasts(described, case.forecasts)
    local gauges, known = read_gauges(case.gauges), {}
    for index in ipairs(names) do
        known[index] = {}
    end
    return function(step)
        local frame = { values = {}, known = {}, channels = {}, gauges = {} }
        for index, name in ipairs(names) do
            add_values(frame, described, values[name], step, known[index])
        end
        for index, channel in ipairs(forecasts(step * described.step_min)) do
            frame.channels[index] = flat_values(channel, names)
        end
        add_gauges(frame, gauges, step)
        return frame
    end
end

local function engine_of(described, names, values, start_ms)
    local columns, profiles = {}, {}
    for index, column in ipairs(described.columns) do
        columns[index] = column.name
    end
    for index, name in ipairs(names) do
        profiles[index] = profile_of(name, values)
    end
    return native.engine { keys = names, profiles = profiles, columns = columns,
        step_ms = described.step_ms, start_ms = start_ms }
end

-- nil when the case holds; { minute =, text =, expected =, actual = } where it does not.
function rules.run(case)
    local known = rules.known()
    local described = series.described()
    local minutes, wanted = minutes_of(case, described, known), filter_of(case, known)
    local values = series.values(described, case.values)
    local names = series.names(values, case.forecasts)
    local engine = engine_of(described, names, values, case.start_ms)
    local frame_of, step = frames_of(case, described, names, values), 0
    for _, minute in ipairs(minutes) do
        local alerts
        while step * described.step_min < minute do
            step = step + 1
            alerts = engine:tick(frame_of(step), step * described.step_min >= minute)
        end
        local found = active.difference(only(alerts, wanted), case.alerts[minute])
        if found then
            found.minute, found.text = minute, ("minute %g"):format(minute)
            return found
        end
    end
    return nil
end

return rules
