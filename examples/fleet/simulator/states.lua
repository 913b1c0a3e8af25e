-- The eight states a server reports, and how it moves between them.
--
-- dwell_min     how long a state lasts, drawn evenly between the two
-- activity      the profile's activity is multiplied by this (reached within minutes, not at once)
-- cpu_iowait_pct  added while in the state
-- next          where a server goes when the dwell is over, with weights; a state whose `hours` or
--               `days` do not fit the moment is left out
-- hours         { from, to } UTC, may pass midnight
-- days          "working": not on Saturday and Sunday

return {
    healthy = {
        dwell_min = { 40, 150 }, activity = 1,
        next = { { "healthy", 60 }, { "morning_spike", 90 }, { "heavy_load", 14 }, { "idle", 12 },
            { "maintenance", 1.2 }, { "critical_issue", 0.25 }, { "offline", 0.2 } },
    },
    morning_spike = {
        dwell_min = { 30, 90 }, activity = 1.18, hours = { 7, 9.5 }, days = "working",
        next = { { "healthy", 70 }, { "heavy_load", 25 } },
    },
    heavy_load = {
        dwell_min = { 25, 100 }, activity = 1.25, hours = { 8, 19 }, days = "working",
        next = { { "healthy", 85 }, { "critical_issue", 1 } },
    },
    idle = {
        dwell_min = { 40, 180 }, activity = 0.6, hours = { 20, 6 },
        next = { { "healthy", 80 }, { "idle", 30 }, { "maintenance", 1 } },
    },
    maintenance = {
        dwell_min = { 30, 75 }, activity = 0.15, hours = { 1, 5 },
        next = { { "offline", 20 }, { "recovery", 60 } },
    },
    critical_issue = {
        dwell_min = { 20, 70 }, activity = 1.4, cpu_iowait_pct = 14,
        next = { { "recovery", 85 }, { "offline", 10 } },
    },
    offline = {
        dwell_min = { 8, 30 }, activity = 0,
        next = { { "recovery", 1 } },
    },
    recovery = {
        dwell_min = { 20, 60 }, activity = 0.75, cpu_iowait_pct = 4,
        next = { { "healthy", 1 } },
    },
}
