-- Slow trouble: each fault pulls one metric towards a bad value over hours, so that a forecast can
-- see the crossing long before it happens. At full strength the server is in critical_issue until
-- somebody fixes it; then the metric returns within minutes.
--
-- ramp_h    from the first sign to full strength
-- shape     1 = straight line, 2 = slow at first
-- hold_min  how long the server suffers at full strength before the fix

local kinds = {
    memory_leak = { metric = "mem_used_pct", towards = 99, ramp_h = { 8, 30 }, shape = 1,
        hold_min = { 20, 80 }, fix = "offline" },
    disk_fill = { metric = "disk_usage_pct", towards = 98.5, ramp_h = { 12, 40 }, shape = 1,
        hold_min = { 30, 120 }, fix = "recovery" },
    io_saturation = { metric = "cpu_iowait_pct", towards = 46, ramp_h = { 4, 14 }, shape = 1.5,
        hold_min = { 20, 70 }, fix = "recovery" },
    cpu_creep = { metric = "cpu_user_pct", towards = 96, ramp_h = { 5, 18 }, shape = 1.2,
        hold_min = { 20, 60 }, fix = "offline" },
}

-- Share of new faults by kind.
local mix = { { "memory_leak", 3 }, { "disk_fill", 2 }, { "io_saturation", 2 }, { "cpu_creep", 3 } }

-- What a scenario changes.
--   days_between        mean time between faults of an ordinary server and of a problem child
--   critical_weight     multiplies the chance of a sudden critical_issue
--   ramp                multiplies every ramp_h
--   struck              share of the fleet that gets a fault when the scenario is set
--   origin              profile of one server that gets io_saturation when the scenario is set
--   coupling            multiplies upstream_gain
local scenarios = {
    healthy = { days_between = { ordinary = 45, problem = 2.5 }, critical_weight = 1, ramp = 1,
        struck = 0, coupling = 1 },
    degrading = { days_between = { ordinary = 6, problem = 0.8 }, critical_weight = 3, ramp = 0.4,
        struck = 0.3, coupling = 1 },
    critical = { days_between = { ordinary = 2, problem = 0.5 }, critical_weight = 20, ramp = 0.05,
        struck = 0.4, coupling = 1 },
    cascade = { days_between = { ordinary = 20, problem = 1.5 }, critical_weight = 3, ramp = 0.08,
        struck = 0, origin = "database", coupling = 3 },
}

return { kinds = kinds, mix = mix, scenarios = scenarios, problem_share = 0.15 }
