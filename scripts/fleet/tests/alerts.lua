-- The rules of alerts.lua, minute by minute. `values` are what servers send, a value every five
-- minutes (the first is closed, and seen by rules, at minute 5); `forecasts` what the model says
-- about the steps to come, here by the minute from which it says so. Exactly the alerts listed for
-- a minute must be pending or firing then; `rules` looks at these rules only.

local test = require "moondial.test"

local CALM = "30x60"

-- A forecast of one server's metric.
local function median(metric, by_minute)
    return { ppdb001 = { [metric] = { p50 = by_minute } } }
end

return {
    test.case { "just below every limit, nothing is wrong", fast = true,
        values = { web1 = { cpu_user_pct = "84.9x60", cpu_iowait_pct = "19.9x60",
            mem_used_pct = "99x60" } },
        forecasts = { web1 = {
            cpu_user_pct = { p50 = "94.9x95" }, mem_used_pct = { p50 = "89.9x95" },
            cpu_iowait_pct = { p50 = "99x95" }, swap_used_pct = { p50 = "24.9x95" },
            disk_usage_pct = { p50 = "84.9x95" }, net_in_mb_s = { p50 = "200x95" } } },
        alerts = { [5] = {}, [60] = {}, [240] = {} } },

    test.case { "only the next hour counts", fast = true,
        values = { ppdb001 = { cpu_user_pct = CALM } },
        forecasts = median("mem_used_pct", "30x11 99x83"), -- from the 13th step on
        alerts = { [5] = {}, [60] = {} } },

    test.case { "memory alerts when the forecast has held for twenty minutes", fast = true,
        rules = "memory_exhaustion",
        values = { ppdb001 = { cpu_user_pct = CALM } },
        forecasts = median("mem_used_pct", { [5] = "50x11", [10] = "87+1x11", [20] = "93+1x11" }),
        alerts = {
            [5] = {},
            [10] = { { "memory_exhaustion", server = "ppdb001", state = "pending" } },
            [20] = { { "memory_exhaustion", server = "ppdb001", state = "pending" } },
            [30] = { { "memory_exhaustion", server = "ppdb001", lead_min = 30, value = 98,
                severity = "critical", profile = "database",
                summary = "ppdb001: mem_used_pct predicted to reach 98.0" } },
        } },

    test.case { "what a forecast takes back is no alert", fast = true,
        values = { web1 = { cpu_user_pct = CALM } },
        forecasts = { web1 = { disk_usage_pct = { p50 = {
            [5] = "84x11", [10] = "86x11", [15] = "82x11" } } } },
        alerts = {
            [10] = { { "disk_filling", server = "web1", state = "pending" } },
            [15] = {}, [60] = {},
        } },

    test.case { "a warning clears below clear_below, ten minutes later", fast = true,
        rules = "swap_high",
        values = { ppdb001 = { cpu_user_pct = CALM } },
        forecasts = median("swap_used_pct", { [5] = "26x11", [10] = "21x11", [20] = "19x11" }),
        alerts = {
            [5] = { { "swap_high", server = "ppdb001" } },
            [15] = { { "swap_high", server = "ppdb001" } },
            [25] = { { "swap_high", server = "ppdb001" } },
            [30] = {},
        } },

    test.case { "databases may fill their memory, machines that train may be busy", fast = true,
        rules = { "memory_high", "cpu_high" },
        values = {
            ppdb001 = { cpu_user_pct = "30x20" }, ppweb001 = { cpu_user_pct = "90x20" },
            ppml0001 = { cpu_user_pct = "90x20" }, db7 = { cpu_user_pct = "1x20",
                profile = "database" } },
        forecasts = {
            ppdb001 = { mem_used_pct = { p50 = "94x11" } },
            ppweb001 = { mem_used_pct = { p50 = "94x11" } },
            db7 = { mem_used_pct = { p50 = "95x11" } } },
        alerts = { [30] = {
            { "memory_high", server = "ppweb001" }, { "memory_high", server = "db7" },
            { "cpu_high", server = "ppweb001", summary = "ppweb001: cpu_user_pct is at 90.0" },
        } } },

    test.case { "each server and metric is an alert of its own", fast = true,
        rules = { "memory_exhaustion", "disk_full" },
        values = { web1 = { cpu_user_pct = CALM }, web2 = { cpu_user_pct = CALM } },
        forecasts = {
            web1 = { mem_used_pct = { p50 = "98x11" }, disk_usage_pct = { p50 = "95x11" } },
            web2 = { mem_used_pct = { p50 = "97.9x11" }, disk_usage_pct = { p50 = "96x11" } } },
        alerts = { [30] = {
            { "memory_exhaustion", server = "web1" },
            { "disk_full", server = "web1" },
            { "disk_full", server = "web2" },
        } } },

    test.case { "no forecast is no alert", fast = true,
        rules = "memory_exhaustion",
        values = { ppdb001 = { mem_used_pct = "99x60" } },
        alerts = { [5] = {}, [30] = {} } },

    test.case { "a silent server is missed after a quarter of an hour", fast = true,
        values = { web1 = { cpu_user_pct = "30x3 _x9 30" }, web2 = { cpu_user_pct = CALM } },
        alerts = {
            [20] = {},
            [25] = { { "feed_silent", server = "web1", state = "pending" } },
            [35] = { { "feed_silent", server = "web1", state = "pending" } },
            [40] = { { "feed_silent", server = "web1" } },
            [65] = { { "feed_silent", server = "web1" } },
            [70] = {},
        } },

    test.case { "one that was forgotten is not", fast = true,
        values = { web1 = { cpu_user_pct = "30x3 stale _x20" } },
        alerts = { [25] = {}, [60] = {} } },
}
