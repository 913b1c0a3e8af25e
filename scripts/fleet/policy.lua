-- Mistakes in the tables of risk.lua, environment.lua and display.lua, found when the daemon loads
-- them: a misspelt metric would never count, or end every answer, as a number in quotes would.

local check = require "moondial.check"
local metrics = require "metrics"
local profiles = require "profiles"

-- What the tables may name. cpu_used_pct is what columns.lua makes of idle and user time; there are
-- forecasts of what is sent only.
local METRICS, FORECAST, PROFILES = { cpu_used_pct = true }, {}, { default = true }
for _, metric in ipairs(metrics) do
    METRICS[metric.name], FORECAST[metric.name] = true, true
end
for _, profile in ipairs(profiles.registry) do
    PROFILES[profile.name] = true
end

local POINTS = { current = { "list" }, predicted = { "list" } }
local TEXT, NUMBER = { "string", required = true }, { "number", required = true }
local LEVEL = { level = TEXT, from = NUMBER, color = TEXT, emoji = TEXT, label = TEXT }
local FIGURE = { name = TEXT, metric = TEXT, unit = TEXT }

local policy = {}

local function check_name(where, name, known, mistakes)
    if not known[name] then
        mistakes[#mistakes + 1] = ("%s: nothing is named '%s'%s"):format(where, tostring(name),
            check.suggestion(name, known))
    end
end

-- Calls check_entry(what, entry, mistakes) for each entry of a table whose keys must be `known`.
local function each(what, given, known, check_entry, mistakes)
    if type(given) ~= "table" then
        mistakes[#mistakes + 1] = ("%s must be a table, not a %s"):format(what, type(given))
        return
    end
    for name, entry in pairs(given) do
        check_name(what, name, known, mistakes)
        check_entry(what .. "." .. tostring(name), entry, mistakes)
    end
end

local function not_empty(what, list, mistakes)
    if #list == 0 then
        mistakes[#mistakes + 1] = what .. " is empty"
    end
end

-- Limits go down; returns what the next one has to lie below.
local function down(where, limit, above, mistakes)
    if limit >= above or limit ~= limit then
        mistakes[#mistakes + 1] = where .. " is not below the one before: highest first"
    end
    return limit
end

-- ---- entries -------------------------------------------------------------------------------

-- { 80, 90 }
function policy.pair(what, entry, mistakes)
    local is_pair = type(entry) == "table" and #entry == 2 and type(entry[1]) == "number"
        and type(entry[2]) == "number"
    if not is_pair then
        mistakes[#mistakes + 1] = what .. " must be two numbers in braces"
    end
    return is_pair
end

-- { current = { { 98, 60 }, { 95, 40 } }, predicted = ... }, highest first
function policy.points(what, entry, mistakes)
    for when, steps in pairs(check.fields(what, entry, POINTS, mistakes)) do
        local above = math.huge
        for index, step in ipairs(type(steps) == "table" and steps or {}) do
            local where = ("%s.%s[%d]"):format(what, when, index)
            above = policy.pair(where, step, mistakes) and down(where, step[1], above, mistakes)
                or above
        end
    end
end

-- Numbers by name, within `ranges` = { name = { low, high }, ... }.
local function numbers_within(what, given, ranges, mistakes)
    local schema = {}
    for name in pairs(ranges) do
        schema[name] = NUMBER
    end
    for name, value in pairs(check.fields(what, given, schema, mistakes)) do
        local low, high = ranges[name][1], ranges[name][2]
        if type(value) == "number" and not (value >= low and value <= high) then
            mistakes[#mistakes + 1] = ("%s.%s must be from %g to %g, not %g"):format(what, name,
                low, high, value)
        end
    end
end

-- ---- tables: these raise all mistakes at once ------------------------------------------------

local function checked_by(known)
    return function(file, what, given, check_entry)
        local mistakes = {}
        each(what, given, known, check_entry, mistakes)
        check.done(mistakes, file)
    end
end

-- { metric = entry, ... }, of any metric or of those that are forecast: (file, what, given,
-- check_entry)
policy.by_metric, policy.by_forecast = checked_by(METRICS), checked_by(FORECAST)

-- { profile = { metric = entry, ... }, ... }, beside the same { metric = entry } for all: of those
-- metrics alone.
function policy.by_profile(file, what, given, check_entry, for_all)
    local mistakes = {}
    each(what, given, PROFILES, function(inner, entries)
        each(inner, entries, METRICS, function(where, entry)
            local metric = where:match "[^.]+$"
            if METRICS[metric] and not for_all[metric] then
                mistakes[#mistakes + 1] = ("%s never counts: %s must be in the table for all, too, "
                    .. "if only as {}"):format(where, metric)
            end
            check_entry(where, entry, mistakes)
        end, mistakes)
    end, mistakes)
    check.done(mistakes, file)
end

-- { { level =, from =, color =, emoji =, label = }, ... }, highest first
function policy.levels(file, what, given)
    local mistakes, above = {}, math.huge
    not_empty(what, given, mistakes)
    for index, level in ipairs(given) do
        local where = ("%s[%d]"):format(what, index)
        local from = check.fields(where, level, LEVEL, mistakes).from
        above = type(from) == "number" and down(where, from, above, mistakes) or above
    end
    check.done(mistakes, file)
end

-- { { name =, metric =, unit = }, ... }
function policy.figures(file, what, given)
    local mistakes = {}
    not_empty(what, given, mistakes)
    for index, figure in ipairs(given) do
        local where = ("%s[%d]"):format(what, index)
        local metric = check.fields(where, figure, FIGURE, mistakes).metric
        if type(metric) == "string" then
            check_name(where, metric, METRICS, mistakes)
        end
    end
    check.done(mistakes, file)
end

-- { name = number, ... }, each within ranges[name] = { low, high }
function policy.numbers(file, what, given, ranges)
    local mistakes = {}
    numbers_within(what, given, ranges, mistakes)
    check.done(mistakes, file)
end

-- { name = { field = number, ... }, ... }: just these names, each with all the fields of `ranges`.
function policy.numbers_by(file, what, given, names, ranges)
    local mistakes, schema = {}, {}
    for _, name in ipairs(names) do
        schema[name] = { "map", required = true }
    end
    for name, entry in pairs(check.fields(what, given, schema, mistakes)) do
        if type(entry) == "table" then
            numbers_within(what .. "." .. name, entry, ranges, mistakes)
        end
    end
    check.done(mistakes, file)
end

return policy
