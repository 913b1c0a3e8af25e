-- The eight figures a dashboard shows per server: now, the mean median forecast of the next half
-- hour, and which way it goes. One decimal; the direction compares the unrounded values.

local md = require "moondial"
local columns = require "columns"
local policy = require "policy"

local SHOWN = {
    { name = "cpu", metric = "cpu_used_pct", unit = "%" },
    { name = "memory", metric = "mem_used_pct", unit = "%" },
    { name = "iowait", metric = "cpu_iowait_pct", unit = "%" },
    { name = "swap", metric = "swap_used_pct", unit = "%" },
    { name = "load", metric = "load_average", unit = "" },
    { name = "disk", metric = "disk_usage_pct", unit = "%" },
    { name = "net_in", metric = "net_in_mb_s", unit = "MB/s" },
    { name = "net_out", metric = "net_out_mb_s", unit = "MB/s" },
}

local DIRECTIONS = { "decreasing", "stable", "increasing" }

-- Which of them a change is, by the least of each: anything above 0 increases.
local ABOVE_0 = 2 ^ -149
local CHANGES = { { ABOVE_0, 3 }, { 0, 2 }, { -math.huge, 1 } }

policy.figures("display.lua", "SHOWN", SHOWN)

local display = { SHOWN = SHOWN }

local METRICS, UNITS = {}, {}
for index, shown in ipairs(SHOWN) do
    METRICS[index], UNITS[index] = shown.metric, shown.unit
end
local PLACES = columns.places(METRICS)
local EACH = md.tensor.range(1, #SHOWN):reshape { 1, #SHOWN }

-- The figures of many servers, an object each, from their present and expected values, by
-- columns.lua. A metric without a present value (NaN) is left out, one without a forecast is
-- expected to stay.
function display.rows(current, expected)
    local now, soon = current:select(2, PLACES), expected:select(2, PLACES)
    soon = soon:isnan():where(now, soon)
    local change = soon:sub(now)
    local figures = md.json.rows({
        current = now:round(1), predicted = soon:round(1), delta = change:round(1),
        unit = md.json.choice(EACH:expand { now:dim(1), #SHOWN }, UNITS),
        trend = md.json.choice(change:grade(CHANGES), DIRECTIONS),
    }, { present = now:eq(now) })
    local fields = {}
    for index, shown in ipairs(SHOWN) do
        fields[shown.name] = figures:inner(index)
    end
    return md.json.rows(fields)
end

return display
