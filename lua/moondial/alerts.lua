-- Alert rules of an app, from what app.lua says under `alerts`:
--
--     { name = "cpu_saturation", severity = "critical",
--       watch = md.forecast { "cpu_user_pct", quantile = 0.5, within_min = 60 },
--       above = { default = 95, ml_compute = 99 }, clear_below = 85 }
--
-- A rule is data: what it watches (alert_words.lua) and a limit, a number or one for each profile.
-- `when` is a function instead, for what no table says. alerts.describe checks everything
-- (alert_rule.lua has the fields of a rule) and puts functions and gauges into lists of their own;
-- alerts.run is one evaluation, called when a step has closed.

local check = require "moondial.check"
local notify = require "moondial.notify"
local rule_of = require "moondial.alert_rule"
local words = require "moondial.alert_words"
local has_native, native = pcall(require, "moondial.native")

local MS_PER_MIN = 60000

local ALERTS = {
    series = { "string", required = true },
    entity = { "string", default = "entity" },
    rules = { "list", required = true },
    profile = { "function" },
    profiles = { "list" },
    quantiles = { "list" },
    severities = { "list" },
    forecasts = { "function" },
    after = { "function" },
    keep = { "map", default = {} },
    notify = { "map" },
}

local KEEP = {
    quantiles = { "list", default = {} },
    within_min = { "number", default = 0 },
}

local alerts = { words = words }

local function set_of(list)
    return type(list) == "table" and check.set_of(list) or nil
end

local function columns_of(name, series, mistakes)
    for _, candidate in ipairs(series) do
        if candidate.name == name then
            local columns = {}
            for _, column in ipairs(candidate.columns) do
                columns[column.name or ""] = true
            end
            return columns, candidate
        end
    end
    if type(name) == "string" then
        mistakes[#mistakes + 1] = ("alerts: no series is named '%s'"):format(name)
    end
end

-- "[3]: ..." with the rule's name, once the line has been found.
local function with_names(lines, rules, prefix)
    for index, line in ipairs(lines) do
        lines[index] = line:gsub(prefix:gsub("%W", "%%%0") .. "%[(%d+)%]", function(number)
            local rule = rules[tonumber(number)]
            local name = type(rule) == "table" and rule.name
            return name and ("rule %s"):format(tostring(name)) or ("rule %s"):format(number)
        end, 1)
    end
    return lines
end

-- The lines of mistakes in rules, "alerts.lua:12: rule cpu: ...", found in the file that returned
-- them, or in app.lua when they are written there.
local function rule_lines(mistakes, rules, file, prefix)
    return with_names(check.lines(mistakes, file or "app.lua"), rules, prefix)
end

-- What C says of a rule, "rule cpu: labels: ...", with its file and line.
local function placed(mistake, rules, file, prefix)
    for index, rule in ipairs(rules) do
        for _, name in ipairs { rule.name, index } do
            local head = ("rule %s: "):format(name)
            if mistake:sub(1, #head) == head then
                local own = ("%s[%d]: %s"):format(prefix, index, mistake:sub(#head + 1))
                return rule_lines({ own }, rules, file, prefix)[1]
            end
        end
    end
    return ("%s: alerts: %s"):format(file or "app.lua", mistake)
end

local function read_rules(given, described, known, lines)
    local file = has_native and native.file_of(given)
    local prefix = file and "" or "alerts.rules"
    local rules, functions, gauges, seen, mistakes = {}, {}, {}, {}, {}
    for index, entry in ipairs(given) do
        local what, own = ("%s[%d]"):format(prefix, index), {}
        local rule = rule_of.read(what, entry, described.entity, known, own)
        if rule.name and seen[rule.name] then
            own[#own + 1] = ("%s: 'name' is taken by another rule"):format(what)
        end
        seen[rule.name or ""] = true
        if rule.when then
            functions[#functions + 1] = { run = rule.when }
            rule.number, rule.when = #functions, nil
        end
        if rule.gauge then
            gauges[#gauges + 1] = rule.metric
        end
        rule.metric = nil
        rules[index] = rule
        for _, mistake in ipairs(own) do
            mistakes[#mistakes + 1] = mistake
        end
    end
    for key in pairs(given) do
        if type(key) ~= "number" then
            mistakes[#mistakes + 1] = ("%s: '%s' is no rule: rules are a list"):format(
                file and "rules" or "alerts.rules", tostring(key))
        end
    end
    if #mistakes > 0 then
        for _, line in ipairs(rule_lines(mistakes, given, file, prefix)) do
            lines[#lines + 1] = line
        end
    end
    described.rules, described.functions, described.gauges = rules, functions, gauges
    described.place = function(mistake)
        return placed(mistake, given, file, prefix)
    end
end

local function check_keep(described, mistakes)
    local keep = check.fields("alerts.keep", described.keep, KEEP, mistakes)
    for index, quantile in ipairs(type(keep.quantiles) == "table" and keep.quantiles or {}) do
        if not (type(quantile) == "number" and quantile > 0 and quantile < 1) then
            mistakes[#mistakes + 1] = ("alerts.keep.quantiles[%d]: not between 0 and 1"):format(
                index)
        end
    end
    keep.within_ms = (tonumber(keep.within_min) or 0) * MS_PER_MIN
    return keep
end

-- Checks what app.lua says under `alerts`, against its series. Mistakes of app.lua go to
-- `mistakes`; `lines` takes those that have a line of their own already.
function alerts.describe(given, series, mistakes, lines)
    if given == nil then
        return nil
    end
    local described = check.fields("alerts", given, ALERTS, mistakes)
    local columns, table_of = columns_of(described.series, series, mistakes)
    local known = { columns = columns, profiles = set_of(described.profiles),
        severities = set_of(described.severities),
        quantiles = type(described.quantiles) == "table" and described.quantiles or nil }
    described.keep = check_keep(described, mistakes)
    described.notify = notify.describe(type(described.notify) == "table" and described.notify
        or nil, lines)
    read_rules(type(described.rules) == "table" and described.rules or {}, described, known, lines)
    described.step_s, described.grace_s = table_of and table_of.step_s,
        table_of and table_of.grace_s
    described.run = function(tick)
        return alerts.run(described, tick)
    end
    return described
end

-- ---- one evaluation ---------------------------------------------------------------------------

local function text_of(err)
    return type(err) == "table" and tostring(err.detail or err) or tostring(err)
end

-- The forecasts of the app, and why there are none.
local function forecasts_of(described, tick)
    if not described.forecasts then
        return {}
    end
    local ok, list, why = pcall(described.forecasts, tick)
    if not ok then
        return {}, text_of(list)
    end
    return list or {}, why and text_of(why)
end

-- Rules are evaluated on values also when forecasts fail, or are not what they should be.
function alerts.run(described, tick)
    tick.wants = native.alert_wants
    local forecasts, trouble = forecasts_of(described, tick)
    local ok, frame = pcall(native.alert_frame, tick.closed_ms, forecasts, described.profile)
    if not ok then
        trouble = text_of(frame)
        frame = native.alert_frame(tick.closed_ms, {}, described.profile)
    end
    native.alert_trouble(trouble)
    local kept, why = native.alert_tick(frame)
    if not kept then
        error(why)
    end
    if described.after then
        described.after(tick)
    end
end

return alerts
