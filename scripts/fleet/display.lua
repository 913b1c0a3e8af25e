-- The eight figures a dashboard shows per server: now, the mean median forecast of the next half
-- hour, and which way it goes. One decimal; the direction compares the unrounded values.

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

local display = { SHOWN = SHOWN }

local function round1(value)
    return math.floor(value * 10 + 0.5) / 10
end

local function direction(current, predicted)
    if predicted > current then
        return "increasing"
    end
    return predicted < current and "decreasing" or "stable"
end

function display.figure(current, predicted, unit)
    return {
        current = round1(current),
        predicted = round1(predicted),
        delta = round1(predicted - current),
        unit = unit,
        trend = direction(current, predicted),
    }
end

-- `current` and `expected` hold one number per metric; a metric without a present value is left
-- out, one without a forecast is expected to stay.
function display.metrics(current, expected)
    local figures = {}
    for _, shown in ipairs(SHOWN) do
        local now = current[shown.metric]
        if now then
            figures[shown.name] = display.figure(now, expected[shown.metric] or now, shown.unit)
        end
    end
    return figures
end

return display
