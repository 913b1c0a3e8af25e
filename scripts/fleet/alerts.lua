-- What is worth waking somebody: edit, save, live in a blink. README.md says how ("Write a rule").
--
-- Memory, swap and disks fill slowly: their rules watch the median forecast of the next hour. CPU
-- and iowait mostly jump: a forecast rule for iowait is right three times of four, but fires when
-- the trouble is there already, so they are watched by value. `examples/fleet/quality` shows how
-- often the forecast rules are right, and how long before.
--
-- Against alerts about nothing: a condition must hold for a while (`for_min`: what a forecast says
-- of the end of its hour, it often takes back), what has fired clears only below `clear_below`,
-- and goes on for ten minutes then. Limits may differ by profile: what is an ordinary day's work
-- somewhere is no trouble there.

local md = require "moondial"
local absent, current, forecast = md.absent, md.current, md.forecast

local function within(minutes, column)
    return forecast { column, quantile = 0.5, within_min = minutes }
end

local REACHES = "{server}: {metric} predicted to reach {value:.1f}"
local IS_AT = "{server}: {metric} is at {value:.1f}"

-- At or above.
return {
    -- Machines that train models are busy as long as a job runs.
    { name = "cpu_saturation", severity = "critical", watch = within(60, "cpu_user_pct"),
        above = { default = 95, ml_compute = 99 }, clear_below = { default = 90, ml_compute = 95 },
        for_min = 10, keep_firing_min = 10, summary = REACHES },
    { name = "cpu_high", severity = "warning", watch = current { "cpu_user_pct" },
        above = { default = 85, ml_compute = 95 }, clear_below = { default = 80, ml_compute = 90 },
        for_min = 10, keep_firing_min = 10, summary = IS_AT },

    { name = "memory_exhaustion", severity = "critical", watch = within(60, "mem_used_pct"),
        above = 98, clear_below = 96, for_min = 20, keep_firing_min = 10, summary = REACHES },
    -- Databases fill their memory with cache on purpose.
    { name = "memory_high", severity = "warning", watch = within(45, "mem_used_pct"),
        above = { default = 90, database = 95 }, clear_below = { default = 87, database = 93 },
        for_min = 20, keep_firing_min = 10, summary = REACHES },

    { name = "swap_exhaustion", severity = "critical", watch = within(60, "swap_used_pct"),
        above = 40, clear_below = 35, keep_firing_min = 10, summary = REACHES },
    { name = "swap_high", severity = "warning", watch = within(60, "swap_used_pct"),
        above = 25, clear_below = 20, keep_firing_min = 10, summary = REACHES },

    { name = "disk_full", severity = "critical", watch = within(60, "disk_usage_pct"),
        above = 95, clear_below = 93, for_min = 10, keep_firing_min = 10, summary = REACHES },
    { name = "disk_filling", severity = "warning", watch = within(60, "disk_usage_pct"),
        above = 85, clear_below = 83, for_min = 10, keep_firing_min = 10, summary = REACHES },

    { name = "iowait_saturation", severity = "critical", watch = current { "cpu_iowait_pct" },
        above = 30, clear_below = 25, for_min = 5, keep_firing_min = 10, summary = IS_AT },
    { name = "iowait_high", severity = "warning", watch = current { "cpu_iowait_pct" },
        above = 20, clear_below = 16, for_min = 10, keep_firing_min = 10, summary = IS_AT },

    { name = "feed_silent", severity = "warning", watch = absent { "cpu_user_pct" }, for_min = 15,
        summary = "{server} has sent nothing for {active_min} min" },
}
