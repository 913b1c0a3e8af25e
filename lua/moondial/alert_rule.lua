-- Checking one alert rule, as an operator writes it, and completing it to the form that C compiles
-- (runtime/script/alert_rules.c): times in milliseconds, maps as lists in order of their names.

local check = require "moondial.check"
local words = require "moondial.alert_words"
local has_native, native = pcall(require, "moondial.native")

local MS_PER_MIN = 60000
local NUMBER_MAX = 10000000 -- minutes: 19 years; instances

local RULE = {
    name = { "string", required = true },
    severity = { "string", default = "" },
    watch = { "map" },
    when = { "function" },
    above = { "any" },
    below = { "any" },
    clear_above = { "any" },
    clear_below = { "any" },
    for_min = { "number", default = 0 },
    keep_firing_min = { "number", default = 0 },
    limit = { "number", default = 0 },
    no_data = { "string", default = "resolve" },
    on_error = { "string", default = "keep" },
    labels = { "map", default = {} },
    annotations = { "map", default = {} },
    summary = { "string" },
    description = { "string" },
    runbook_url = { "string" },
}

-- What a template may name beside the labels of its alert.
local NUMBERS = { value = true, limit = true, lead_min = true, active_min = true }

local POLICIES = { resolve = true, keep = true, fire = true }

-- What an operator may write at the top of a rule, and Alertmanager's readers expect.
local ANNOTATIONS = { "summary", "description", "runbook_url" }

-- Labels that the engine sets.
local RESERVED = { alertname = true, severity = true, metric = true, profile = true }

local function is_number(value)
    return type(value) == "number" and value == value and math.abs(value) ~= math.huge
end

-- A number, or a number by profile, as { fallback =, profiles = , values = }.
local function read_limit(what, name, given, known, mistakes)
    if given == nil then
        return nil
    elseif is_number(given) then
        return { fallback = given, profiles = {}, values = {} }
    elseif type(given) ~= "table" then
        mistakes[#mistakes + 1] = ("%s: '%s' must be a number, or a table of numbers by profile, "
            .. "not a %s"):format(what, name, type(given))
        return nil
    end
    local limit = { profiles = {}, values = {} }
    for _, profile in ipairs(check.sorted_keys(given)) do
        if not is_number(given[profile]) then
            mistakes[#mistakes + 1] = ("%s: '%s' of '%s' must be a number, not a %s"):format(what,
                name, tostring(profile), type(given[profile]))
        elseif profile == "default" then
            limit.fallback = given.default
        elseif type(profile) ~= "string" or (known and not known[profile]) then
            mistakes[#mistakes + 1] = ("%s: '%s' names no profile '%s'%s"):format(what, name,
                tostring(profile), check.suggestion(profile, known or {}))
        else
            limit.profiles[#limit.profiles + 1] = profile
            limit.values[#limit.values + 1] = given[profile]
        end
    end
    return limit
end

-- Limits of what is compared; a clear on the wrong side would never clear, or always.
local function check_limits(what, rule, known, mistakes)
    local read = {}
    for _, name in ipairs { "above", "below", "clear_above", "clear_below" } do
        read[name] = read_limit(what, name, rule[name], known.profiles, mistakes)
    end
    local is_below = rule.below ~= nil
    local limit, clear = read.above or read.below,
        read[is_below and "clear_above" or "clear_below"]
    local kind = type(rule.watch) == "table" and rule.watch.kind
    local needs = kind and kind ~= "absent"
    local never = kind == "absent" or rule.when and not kind
    if rule.above ~= nil and is_below then
        mistakes[#mistakes + 1] = what .. ": either 'above' or 'below', not both"
    elseif needs and rule.above == nil and not is_below then
        mistakes[#mistakes + 1] = what .. ": 'above' is missing (or 'below')"
    elseif never and (limit or read.clear_above or read.clear_below) then
        mistakes[#mistakes + 1] = what .. ": nothing is compared here: no 'above', 'below', "
            .. "'clear_above' or 'clear_below'"
    end
    local wrong = is_below and "clear_below" or "clear_above"
    if limit and rule[wrong] ~= nil then
        mistakes[#mistakes + 1] = ("%s: '%s' goes with '%s'"):format(what, wrong,
            is_below and "above" or "below")
    end
    if limit and clear and limit.fallback and clear.fallback then
        local outside = is_below and clear.fallback < limit.fallback
            or not is_below and clear.fallback > limit.fallback
        if outside then
            mistakes[#mistakes + 1] = ("%s: '%s' is %g, on the wrong side of %g"):format(what,
                is_below and "clear_above" or "clear_below", clear.fallback, limit.fallback)
        end
    end
    return is_below, limit, clear
end

local function check_texts(what, name, map, mistakes)
    for key, value in pairs(type(map) == "table" and map or {}) do
        local legal = type(key) == "string" and key:find "^[%a_][%w_]*$"
        if not legal then
            mistakes[#mistakes + 1] = ("%s: '%s' has the name '%s': letters, digits and _ only")
                :format(what, name, tostring(key))
        elseif type(value) ~= "string" then
            mistakes[#mistakes + 1] = ("%s: '%s' of '%s' must be a string, not a %s"):format(what,
                name, key, type(value))
        end
    end
end

local function check_severity(what, rule, known, mistakes)
    local severity = rule.severity
    if known and type(severity) == "string" and severity ~= "" and not known[severity] then
        mistakes[#mistakes + 1] = ("%s: 'severity' is none that there is: '%s'%s"):format(what,
            severity, check.suggestion(severity, known))
    end
end

local function check_labels(what, rule, entity, mistakes)
    check_texts(what, "labels", rule.labels, mistakes)
    for name in pairs(type(rule.labels) == "table" and rule.labels or {}) do
        if RESERVED[name] or name == entity then
            mistakes[#mistakes + 1] = ("%s: 'labels' cannot set '%s', which every alert has")
                :format(what, name)
        end
    end
end

-- What the template of a rule may name.
local function names_for(entity, labels)
    local names = { [tostring(entity)] = true }
    for _, set in ipairs { NUMBERS, RESERVED, type(labels) == "table" and labels or {} } do
        for name in pairs(set) do
            names[tostring(name)] = true
        end
    end
    return names
end

-- A name that no alert of the rule has would stay in the text, braces and all.
local function name_mistake(text, names)
    for name in text:gsub("{{", ""):gmatch "{([%w_]+)" do
        if not names[name] then
            return ("no alert of this rule has a '%s'%s"):format(name,
                check.suggestion(name, names))
        end
    end
end

local function annotations_of(what, rule, entity, mistakes)
    local texts, names = {}, names_for(entity, rule.labels)
    check_texts(what, "annotations", rule.annotations, mistakes)
    for name, text in pairs(type(rule.annotations) == "table" and rule.annotations or {}) do
        texts[name] = text
    end
    for _, name in ipairs(ANNOTATIONS) do
        texts[name] = rule[name] or texts[name]
    end
    for name, text in pairs(texts) do
        local why = type(text) == "string"
            and (has_native and native.alert_template_mistake(text) or name_mistake(text, names))
        if why then
            mistakes[#mistakes + 1] = ("%s: '%s': %s"):format(what, name, why)
        end
    end
    return check.pairs_list(texts)
end

local function check_numbers(what, rule, mistakes)
    for _, name in ipairs { "for_min", "keep_firing_min", "limit" } do
        local value = rule[name]
        if type(value) == "number" and not (value >= 0 and value <= NUMBER_MAX) then
            mistakes[#mistakes + 1] = ("%s: '%s' must be from 0 to %d, not %g"):format(what, name,
                NUMBER_MAX, value)
        end
    end
    local limit = rule.limit
    if type(limit) == "number" and is_number(limit) and limit % 1 ~= 0 then
        mistakes[#mistakes + 1] = ("%s: 'limit' must be a whole number, not %g"):format(what, limit)
    end
    for _, name in ipairs { "no_data", "on_error" } do
        if type(rule[name]) == "string" and not POLICIES[rule[name]] then
            mistakes[#mistakes + 1] = ("%s: '%s' must be resolve, keep or fire, not '%s'%s")
                :format(what, name, rule[name], check.suggestion(rule[name], POLICIES))
        end
    end
end

local function check_watch(what, watch, known, mistakes)
    for _, column in ipairs(watch.columns or {}) do
        if known.columns and not known.columns[column] then
            mistakes[#mistakes + 1] = ("%s: 'watch' names no column '%s'%s"):format(what, column,
                check.suggestion(column, known.columns))
        end
    end
    local wanted = watch.kind == "forecast" and known.quantiles
    if wanted then
        for _, quantile in ipairs(wanted) do
            if math.abs(quantile - watch.quantile) < 1e-6 then
                return
            end
        end
        mistakes[#mistakes + 1] = ("%s: 'watch': no forecast has the quantile %g, only %s"):format(
            what, watch.quantile, table.concat(wanted, ", "))
    end
end

-- Exactly one of watch and when; the watch when it is one of md's.
local function subject_of(what, rule, known, mistakes)
    if rule.when and rule.watch then
        mistakes[#mistakes + 1] = what .. ": either 'watch' or 'when', not both"
    elseif rule.watch == nil and rule.when == nil then
        mistakes[#mistakes + 1] = what .. ": 'watch' is missing (or 'when')"
    elseif type(rule.watch) == "table" then
        if not words[rule.watch.kind] then
            mistakes[#mistakes + 1] = what .. ": 'watch' must be made by md.forecast, md.current, "
                .. "md.absent or md.gauge"
            return {}
        end
        check_watch(what, rule.watch, known, mistakes)
        return rule.watch
    end
    return {}
end

-- The rule as C reads it; `given` is what the operator wrote.
local function read(what, given, entity, known, mistakes)
    local rule = check.fields(what, given, RULE, mistakes)
    local watch = subject_of(what, rule, known, mistakes)
    local is_below, limit, clear = check_limits(what, rule, known, mistakes)
    check_severity(what, rule, known.severities, mistakes)
    check_labels(what, rule, entity, mistakes)
    check_numbers(what, rule, mistakes)
    local annotations = annotations_of(what, rule, entity, mistakes)
    if #mistakes > 0 then
        return { name = rule.name }
    end
    return {
        name = rule.name, severity = rule.severity, kind = watch.kind or "function",
        columns = watch.columns or {}, quantile = watch.quantile,
        within_ms = (watch.within_min or 0) * MS_PER_MIN,
        gauge = watch.gauge, metric = watch, when = rule.when,
        is_below = is_below, above_or_below = limit, clear = clear,
        for_ms = rule.for_min * MS_PER_MIN, keep_firing_ms = rule.keep_firing_min * MS_PER_MIN,
        instances_max = rule.limit, no_data = rule.no_data, on_error = rule.on_error,
        labels = check.pairs_list(rule.labels), annotations = annotations,
    }
end

return { read = read }
