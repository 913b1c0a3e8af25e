-- From two readings of one machine to the record that is sent.

local CPU = { cpu_user = "cpu_user_pct", cpu_system = "cpu_sys_pct", cpu_iowait = "cpu_iowait_pct",
    cpu_idle = "cpu_idle_pct" }
local NETWORK = { net_in_bytes = "net_in_mb_s", net_out_bytes = "net_out_mb_s" }
local MEGABYTE = 1e6

local rates = {}

local function round2(value)
    return math.floor(value * 100 + 0.5) / 100
end

-- How much a counter has grown; nil when one reading lacks it or it was reset in between.
local function growth(before, after, name)
    local from, to = before.counters[name], after.counters[name]
    if from and to and to >= from then
        return to - from
    end
end

-- Shares of processor time. Some kernels let iowait run backwards, which counts as no growth.
local function cpu_shares(before, after, record)
    local total, grown = 0, {}
    for name in pairs(CPU) do
        if after.counters[name] == nil or before.counters[name] == nil then
            return
        end
        grown[name] = growth(before, after, name) or 0
        total = total + grown[name]
    end
    if total <= 0 then
        return
    end
    for name, metric in pairs(CPU) do
        record[metric] = round2(100 * grown[name] / total)
    end
end

-- The record of the time between the readings, or nil when none has passed.
function rates.record(before, after)
    local seconds = (after.time_ms - before.time_ms) / 1000
    if seconds <= 0 then
        return nil
    end
    local record = {}
    for metric, value in pairs(after.gauges) do
        record[metric] = round2(value)
    end
    cpu_shares(before, after, record)
    for name, metric in pairs(NETWORK) do
        local bytes = growth(before, after, name)
        record[metric] = bytes and round2(bytes / seconds / MEGABYTE)
    end
    return next(record) and record or nil
end

return rates
