-- The alerts that a policy test expects, and those that there are: exactly the same ones, each
-- once. An expected alert is { "cpu_saturation", server = "ppdb001", state = "firing" }: the rule's
-- name and any fields, labels and annotations that matter; the state is firing unless it says
-- otherwise.

local check = require "moondial.check"
local compare = require "moondial.test.compare"
local native = require "moondial.native_test"

local active = {}

local FIELDS = { severity = true, metric = true, profile = true, state = true, value = true,
    limit = true, lead_min = true, summary = true, description = true }

-- A value is computed in single precision.
local NEAR = 1e-5

local function same(actual, expected)
    if type(actual) == "number" and type(expected) == "number" then
        return math.abs(actual - expected) <= NEAR * math.max(1, math.abs(expected))
    end
    return actual == expected
end

local function field_of(alert, name)
    local value = alert[name]
    if value == nil and alert.labels then
        value = alert.labels[name]
    end
    if value == nil and alert.annotations then
        value = alert.annotations[name]
    end
    return value
end

local function wanted_state(expected)
    return expected.state or "firing"
end

local function fits(alert, expected)
    if alert.rule ~= expected[1] or alert.state ~= wanted_state(expected) then
        return false
    end
    for name, value in pairs(expected) do
        if name ~= 1 and not same(field_of(alert, name), value) then
            return false
        end
    end
    return true
end

local function described(rule, fields, value_of)
    local words = { rule }
    for _, name in ipairs(fields) do
        local value = value_of(name)
        if value ~= nil and value ~= "" then
            words[#words + 1] = name .. "=" .. (type(value) == "string" and value
                or compare.show(value))
        end
    end
    return table.concat(words, " ")
end

-- What is shown of each alert: enough to tell them apart, and what any expected one asks for.
local function shown_fields(expected_list)
    local fields = { native.entity(), "metric", "state" }
    local seen = { [1] = true }
    for _, name in ipairs(fields) do
        seen[name] = true
    end
    local more = {}
    for _, expected in ipairs(expected_list) do
        for name in pairs(expected) do
            if not seen[name] then
                seen[name], more[#more + 1] = true, name
            end
        end
    end
    table.sort(more)
    for _, name in ipairs(more) do
        fields[#fields + 1] = name
    end
    return fields
end

local function all_of(list, fields)
    local texts = {}
    for index, entry in ipairs(list) do
        if entry[1] then
            texts[index] = described(entry[1], fields, function(name)
                return name == "state" and wanted_state(entry) or entry[name]
            end)
        else
            texts[index] = described(entry.rule, fields, function(name)
                return field_of(entry, name)
            end)
        end
    end
    return #texts == 0 and "no alerts" or table.concat(texts, ", ")
end

-- nil when exactly the expected alerts are among `alerts` (which may hold resolved ones, too), else
-- { expected =, actual = }: both as text.
function active.difference(alerts, expected_list)
    local standing, left = {}, {}
    for _, alert in ipairs(alerts) do
        if alert.state ~= "inactive" and alert.state ~= "resolved" then
            standing[#standing + 1], left[#left + 1] = alert, alert
        end
    end
    local missing = 0
    for _, expected in ipairs(expected_list) do
        local found
        for index, alert in ipairs(left) do
            found = found or (fits(alert, expected) and index)
        end
        if found then
            table.remove(left, found)
        else
            missing = missing + 1
        end
    end
    if missing == 0 and #left == 0 then
        return nil
    end
    local fields = shown_fields(expected_list)
    return { text = "alerts", expected = all_of(expected_list, fields),
        actual = all_of(standing, fields) }
end

-- What is wrong with a list of expected alerts, as text; nil when nothing is.
function active.mistake(expected_list, rules)
    if type(expected_list) ~= "table" then
        return "a list of alerts, { { \"rule\", server = \"...\" } }; {} for none"
    end
    for index, expected in ipairs(expected_list) do
        if type(expected) ~= "table" or type(expected[1]) ~= "string" then
            return ("alert %d: { \"rule\", server = \"...\", state = \"firing\" }"):format(index)
        elseif not rules[expected[1]] then
            return ("alert %d: no rule is named '%s'%s"):format(index, expected[1],
                check.suggestion(expected[1], rules))
        end
        local known = setmetatable({ [native.entity()] = true }, { __index = FIELDS })
        for name in pairs(rules[expected[1]]) do
            known[name] = true
        end
        for name in pairs(expected) do
            if name ~= 1 and not known[name] then
                return ("alert %d: '%s' is no field or label of it%s"):format(index,
                    tostring(name), check.suggestion(name, FIELDS))
            end
        end
    end
    for key in pairs(expected_list) do
        if type(key) ~= "number" then
            return ("'%s': a list of alerts, each in braces of its own"):format(tostring(key))
        end
    end
    return nil
end

return active
