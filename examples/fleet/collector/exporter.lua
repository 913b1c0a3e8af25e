-- A reading of another machine from its Prometheus node_exporter, as mapping.lua says.

local mapping = require "mapping"

local exporter = {}

local ESCAPES = { n = "\n", ["\\"] = "\\", ['"'] = '"' }
local SECONDS_PER_DAY = 86400

-- Labels between the braces, beginning at `at`; returns them and where the text goes on.
local function read_labels(line, at)
    local labels = {}
    while true do
        local name, after = line:match("^%s*,?%s*([%a_][%w_]*)%s*=%s*\"()", at)
        if not name then
            return labels, line:match("^%s*,?%s*}()", at)
        end
        local close = after
        while close <= #line and line:sub(close, close) ~= '"' do
            close = close + (line:sub(close, close) == "\\" and 2 or 1)
        end
        labels[name] = line:sub(after, close - 1):gsub("\\(.)", ESCAPES)
        at = close + 1
    end
end

local SPECIAL = { NaN = 0 / 0, ["+Inf"] = math.huge, ["-Inf"] = -math.huge }

-- Samples by name: { name = { { labels =, value = }, ... } }. Comments and lines that are not in
-- the format are skipped.
function exporter.parse(text)
    local samples = {}
    for line in text:gmatch("[^\r\n]+") do
        local name, at = line:match("^([%a_:][%w_:]*)()")
        local labels = {}
        if name and line:sub(at, at) == "{" then
            labels, at = read_labels(line, at + 1)
        end
        local number = name and at and line:match("^%s+(%S+)", at)
        local value = number and (SPECIAL[number] or tonumber(number))
        if value then
            samples[name] = samples[name] or {}
            table.insert(samples[name], { labels = labels, value = value })
        end
    end
    return samples
end

local function label_fits(value, wanted)
    if type(wanted) ~= "table" then
        return value == wanted
    elseif wanted.isnt then
        return value ~= wanted.isnt
    end
    for _, candidate in ipairs(wanted.one_of) do
        if value == candidate then
            return true
        end
    end
    return false
end

local function fits(sample, labels)
    for name, wanted in pairs(labels or {}) do
        if not label_fits(sample.labels[name], wanted) then
            return false
        end
    end
    return true
end

-- The sum of the samples a row of the mapping asks for; nil when there are none.
function exporter.pick(samples, row)
    local total, found = 0, false
    for _, sample in ipairs(samples[row.name] or {}) do
        if sample.value == sample.value and fits(sample, row.labels) then
            total, found = total + sample.value, true
        end
    end
    return found and total * (row.scale or 1) or nil
end

local function pick_all(samples, rows)
    local picked = {}
    for name, row in pairs(rows) do
        picked[name] = exporter.pick(samples, row)
    end
    return picked
end

-- A machine without swap uses none of it.
local function used_share(samples, row)
    local free, whole = exporter.pick(samples, row.free), exporter.pick(samples, row.whole)
    if not free or not whole then
        return nil
    end
    return whole > 0 and 100 * (1 - free / whole) or 0
end

function exporter.reading(text, now_ms)
    local samples = exporter.parse(text)
    local reading = { time_ms = now_ms, counters = pick_all(samples, mapping.counters),
        gauges = pick_all(samples, mapping.gauges) }
    for metric, row in pairs(mapping.used_shares) do
        reading.gauges[metric] = used_share(samples, row)
    end
    for metric, row in pairs(mapping.days_between) do
        local from, to = exporter.pick(samples, row.from), exporter.pick(samples, row.to)
        reading.gauges[metric] = from and to and math.floor((to - from) / SECONDS_PER_DAY)
    end
    return reading
end

return exporter
