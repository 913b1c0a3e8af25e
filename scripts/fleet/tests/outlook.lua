-- What forecasts mean for the fleet and for a dashboard, on cases that can be added up by hand.

local md = require "moondial"
local test = require "moondial.test"
local columns = require "columns"
local display = require "display"
local environment = require "environment"
local metrics = require "metrics"

-- Probabilities from { metric = { p50_max, p90_max, p50_min } }, one table a server, in forecasts
-- of so many steps.
local function probabilities(span, servers, steps)
    local p50, p90 = {}, {}
    for index, values in ipairs(servers) do
        p50[index], p90[index] = {}, {}
        for place, metric in ipairs(metrics) do
            local peaks = values[metric.name] or { 0 / 0, 0 / 0, 0 / 0 }
            p50[index][place], p90[index][place] = {}, {}
            for step = 1, steps do
                p50[index][place][step] = step == 2 and peaks[1] or peaks[3]
                p90[index][place][step] = step == 3 and peaks[2] or peaks[3]
            end
        end
    end
    local percent = environment.servers(span, md.tensor.from(p50):lazy(),
        md.tensor.from(p90):lazy()):totable()
    for index, value in ipairs(percent) do
        percent[index] = value / 100
    end
    return percent
end

local TROUBLED = {
    cpu_user_pct = { 91, 91, 91 },      -- critical by the median
    mem_used_pct = { 70, 100.5, 70 },   -- critical: p90 over 95 + 5
    swap_used_pct = { 11, 12, 9 },      -- warning
    disk_usage_pct = { 80, 85, 80 },    -- limits must be passed
    cpu_idle_pct = { 99, 99, 9 },       -- critical, low is bad
    net_in_mb_s = { 1000, 1000, 0 },    -- says nothing
}

local function decoded(row)
    return md.json.decode(md.json.encode(row, { decimals = 4 }))
end

return {
    test.case { "a server's probability adds up over its metrics", fast = true, run = function(t)
        local servers = { TROUBLED, {}, { cpu_idle_pct = { 50, 50, 19 } } }
        for index, expected in ipairs { 0.25 * 3 + 0.10, 0, 0.10 } do
            t.near(probabilities("near", servers, 96)[index], expected, 1e-9)
        end
        t.near(probabilities("far", servers, 96)[1], 0.20 * 3 + 0.08, 1e-9)
        t.equal(probabilities("near", servers, 5), { 0, 0, 0 })
        t.equal(probabilities("far", servers, 19), { 0, 0, 0 })
    end },

    test.case { "a server's probability stops at one", fast = true, run = function(t)
        local peaks = {}
        for metric in pairs(environment.HIGH) do
            peaks[metric] = { 100, 100, 100 }
        end
        t.equal(probabilities("near", { peaks }, 96), { 1 })
    end },

    test.case { "the fleet's probability is the mean of its servers", fast = true,
        run = function(t)
            local function fleet(near, far)
                return environment.fleet(md.tensor.from(near), md.tensor.from(far))
            end
            t.equal(fleet({ 100, 0 }, { 50, 25 }), {
                prob_30m = 0.5, incident_probability_30m = 0.5, prob_8h = 0.375,
                incident_probability_8h = 0.375, high_risk_servers = 1, total_servers = 2,
                fleet_health = "warning" })
            t.equal(fleet({ 61 }, { 0 }).fleet_health, "critical")
            t.equal(fleet({ 30 }, { 0 }).fleet_health, "healthy")
            t.equal(fleet({}, {}).fleet_health, "unknown")
            t.equal(fleet({}, {}).prob_30m, 0)
        end },

    test.case { "figures have one decimal and compare before rounding", fast = true,
        run = function(t)
            local function named(values)
                local list = {}
                for metric, value in pairs(values) do
                    list[metric] = { value }
                end
                return columns.from(1, list)
            end
            local figures = decoded(display.rows(
                named { cpu_used_pct = 45.04, net_in_mb_s = 1.25, load_average = 2 },
                named { cpu_used_pct = 45.03, net_in_mb_s = 2.5 }):at(1))
            t.equal(figures.cpu, { current = 45, predicted = 45, delta = 0, unit = "%",
                trend = "decreasing" })
            t.equal(figures.net_in, { current = 1.3, predicted = 2.5, delta = 1.3, unit = "MB/s",
                trend = "increasing" })
            t.equal(figures.load, { current = 2, predicted = 2, delta = 0, unit = "",
                trend = "stable" })
            t.equal(figures.memory, nil)
        end },
}
