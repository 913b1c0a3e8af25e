-- What is worth waking somebody: edit, save, live in a blink. README.md says how ("Write a rule").
--
-- Most rules watch the median forecast of the next hour; they fire when any step of it reaches the
-- limit. Two guards against flapping: a rule that has fired clears only when the forecast falls
-- below `clear_below`, and goes on for ten minutes then. A warning must hold for two steps first;
-- what is critical does not wait.

local md = require "moondial"
local absent, forecast = md.absent, md.forecast

local function within_an_hour(column)
    return forecast { column, quantile = 0.5, within_min = 60 }
end

local REACHES = "{server}: {metric} predicted to reach {value:.1f}"

-- At or above. Profiles may have limits of their own: above = { default = 98, database = 99 }.
return {
    { name = "cpu_saturation", severity = "critical", watch = within_an_hour "cpu_user_pct",
        above = 95, clear_below = 90, keep_firing_min = 10, summary = REACHES },
    { name = "cpu_high", severity = "warning", watch = within_an_hour "cpu_user_pct",
        above = 85, clear_below = 80, for_min = 5, keep_firing_min = 10, summary = REACHES },

    { name = "memory_exhaustion", severity = "critical", watch = within_an_hour "mem_used_pct",
        above = 98, clear_below = 96, keep_firing_min = 10, summary = REACHES },
    { name = "memory_high", severity = "warning", watch = within_an_hour "mem_used_pct",
        above = 90, clear_below = 87, for_min = 5, keep_firing_min = 10, summary = REACHES },

    { name = "iowait_saturation", severity = "critical", watch = within_an_hour "cpu_iowait_pct",
        above = 30, clear_below = 25, keep_firing_min = 10, summary = REACHES },
    { name = "iowait_high", severity = "warning", watch = within_an_hour "cpu_iowait_pct",
        above = 20, clear_below = 16, for_min = 5, keep_firing_min = 10, summary = REACHES },

    { name = "swap_exhaustion", severity = "critical", watch = within_an_hour "swap_used_pct",
        above = 50, clear_below = 45, keep_firing_min = 10, summary = REACHES },
    { name = "swap_high", severity = "warning", watch = within_an_hour "swap_used_pct",
        above = 25, clear_below = 20, for_min = 5, keep_firing_min = 10, summary = REACHES },

    { name = "disk_full", severity = "critical", watch = within_an_hour "disk_usage_pct",
        above = 95, clear_below = 93, keep_firing_min = 10, summary = REACHES },
    { name = "disk_filling", severity = "warning", watch = within_an_hour "disk_usage_pct",
        above = 85, clear_below = 83, for_min = 5, keep_firing_min = 10, summary = REACHES },

    { name = "feed_silent", severity = "warning", watch = absent { "cpu_user_pct" }, for_min = 15,
        summary = "{server} has sent nothing for {active_min} min" },
}
