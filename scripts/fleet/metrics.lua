-- The 14 metrics a server sends, in the order the models know.
--
-- name       field in a record; its end names the unit
-- low, high  a record with a value outside is rejected (high nil: no limit)
-- ceiling    forecasts stop here, or at the present value where that is already higher
-- whole      counts: forecasts are whole numbers
-- unit       as shown to people
-- absent     what the model is told of a server that never sends it (nil: what is usual)
-- kind       how several values within one step become one: "mean", or "max" for counters

return {
    { name = "cpu_user_pct", low = 0, high = 100, ceiling = 100, unit = "%", kind = "mean" },
    { name = "cpu_sys_pct", low = 0, high = 100, ceiling = 100, unit = "%", kind = "mean" },
    { name = "cpu_iowait_pct", low = 0, high = 100, ceiling = 100, unit = "%", kind = "mean" },
    { name = "cpu_idle_pct", low = 0, high = 100, ceiling = 100, unit = "%", kind = "mean" },
    { name = "java_cpu_pct", low = 0, high = 100, ceiling = 100, unit = "%", kind = "mean",
        absent = 0 },
    { name = "mem_used_pct", low = 0, high = 100, ceiling = 100, unit = "%", kind = "mean" },
    { name = "swap_used_pct", low = 0, high = 100, ceiling = 100, unit = "%", kind = "mean" },
    { name = "disk_usage_pct", low = 0, high = 100, ceiling = 100, unit = "%", kind = "mean" },
    { name = "net_in_mb_s", low = 0, ceiling = 200, unit = "MB/s", kind = "mean" },
    { name = "net_out_mb_s", low = 0, ceiling = 200, unit = "MB/s", kind = "mean" },
    { name = "back_close_wait", low = 0, whole = true, unit = "", kind = "max", absent = 0 },
    { name = "front_close_wait", low = 0, whole = true, unit = "", kind = "max", absent = 0 },
    { name = "load_average", low = 0, ceiling = 16, unit = "", kind = "mean" },
    { name = "uptime_days", low = 0, ceiling = 30, whole = true, unit = "d", kind = "max" },
}
