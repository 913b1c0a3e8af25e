-- What each kind of server looks like on a good day. Edit the numbers, keep the units.
--
-- activity    how busy the server is at each hour of a working day (0:00, 1:00, ... 23:00 UTC),
--             0 = nothing to do, 1 = its normal maximum; straight lines between the hours
-- weekend     activity on Saturday and Sunday, as a share of a working day
-- quiet/busy  the metric at activity 0 and 1
-- noise       standard deviations: of activity, and of cpu_user_pct and mem_used_pct on top
-- jobs        long compute jobs that come and go: activity added while one runs
-- mem_pressure_pct  above this the server begins to swap
-- java_share  part of cpu_user_pct spent in Java
-- upstream_gain     how much of a database's io trouble this server feels (0 ... 1)

return {
    ml_compute = {
        name = "ppml%04d", weekend = 0.85, java_share = 0.05, mem_pressure_pct = 92,
        upstream_gain = 0.05, log_growth_pct = 3,
        activity = { 0.75, 0.78, 0.78, 0.74, 0.68, 0.60, 0.48, 0.40, 0.42, 0.50, 0.58, 0.62,
            0.60, 0.64, 0.68, 0.70, 0.68, 0.66, 0.70, 0.75, 0.78, 0.80, 0.80, 0.78 },
        noise = { activity = 0.06, cpu_user_pct = 2.5, mem_used_pct = 1.2 },
        jobs = { activity = 0.22, run_h = { 2, 7 }, pause_h = { 1, 8 } },
        quiet = { cpu_user_pct = 12, cpu_sys_pct = 3, cpu_iowait_pct = 0.8, mem_used_pct = 48,
            swap_used_pct = 0.5, disk_usage_pct = 55, net_in_mb_s = 2, net_out_mb_s = 1.5,
            back_close_wait = 1, front_close_wait = 1 },
        busy = { cpu_user_pct = 78, cpu_sys_pct = 8, cpu_iowait_pct = 3, mem_used_pct = 80,
            swap_used_pct = 1.5, disk_usage_pct = 58, net_in_mb_s = 35, net_out_mb_s = 18,
            back_close_wait = 3, front_close_wait = 2 },
    },
    database = {
        name = "ppdb%03d", weekend = 0.60, java_share = 0.02, mem_pressure_pct = 96,
        upstream_gain = 0, log_growth_pct = 5,
        -- The backup runs from two to four at night, on working days and weekends alike.
        activity = { 0.28, 0.34, 0.82, 0.78, 0.36, 0.26, 0.30, 0.46, 0.76, 0.86, 0.82, 0.76,
            0.66, 0.70, 0.76, 0.76, 0.70, 0.60, 0.46, 0.36, 0.32, 0.30, 0.28, 0.28 },
        noise = { activity = 0.05, cpu_user_pct = 2.0, mem_used_pct = 0.6 },
        quiet = { cpu_user_pct = 9, cpu_sys_pct = 3, cpu_iowait_pct = 2, mem_used_pct = 84,
            swap_used_pct = 0.8, disk_usage_pct = 62, net_in_mb_s = 3, net_out_mb_s = 4,
            back_close_wait = 3, front_close_wait = 2 },
        busy = { cpu_user_pct = 56, cpu_sys_pct = 11, cpu_iowait_pct = 11, mem_used_pct = 92,
            swap_used_pct = 2, disk_usage_pct = 65, net_in_mb_s = 28, net_out_mb_s = 45,
            back_close_wait = 14, front_close_wait = 6 },
    },
    web_api = {
        name = "ppweb%03d", weekend = 0.45, java_share = 0.72, mem_pressure_pct = 90,
        upstream_gain = 0.5, log_growth_pct = 6,
        activity = { 0.14, 0.11, 0.09, 0.09, 0.11, 0.16, 0.26, 0.50, 0.90, 0.98, 0.82, 0.74,
            0.66, 0.72, 0.80, 0.78, 0.70, 0.60, 0.48, 0.40, 0.34, 0.28, 0.22, 0.17 },
        noise = { activity = 0.05, cpu_user_pct = 2.2, mem_used_pct = 1.0 },
        quiet = { cpu_user_pct = 7, cpu_sys_pct = 2, cpu_iowait_pct = 0.5, mem_used_pct = 45,
            swap_used_pct = 0.3, disk_usage_pct = 44, net_in_mb_s = 2, net_out_mb_s = 3,
            back_close_wait = 4, front_close_wait = 6 },
        busy = { cpu_user_pct = 58, cpu_sys_pct = 9, cpu_iowait_pct = 2, mem_used_pct = 68,
            swap_used_pct = 1, disk_usage_pct = 48, net_in_mb_s = 42, net_out_mb_s = 88,
            back_close_wait = 22, front_close_wait = 34 },
    },
    conductor_mgmt = {
        name = "ppcon%02d", weekend = 0.70, java_share = 0.80, mem_pressure_pct = 90,
        upstream_gain = 0.3, log_growth_pct = 4,
        activity = { 0.42, 0.44, 0.46, 0.44, 0.40, 0.38, 0.42, 0.52, 0.68, 0.78, 0.76, 0.72,
            0.66, 0.68, 0.72, 0.72, 0.70, 0.62, 0.55, 0.50, 0.46, 0.44, 0.42, 0.42 },
        noise = { activity = 0.04, cpu_user_pct = 1.8, mem_used_pct = 0.8 },
        quiet = { cpu_user_pct = 10, cpu_sys_pct = 3, cpu_iowait_pct = 0.6, mem_used_pct = 52,
            swap_used_pct = 0.4, disk_usage_pct = 40, net_in_mb_s = 2, net_out_mb_s = 2,
            back_close_wait = 3, front_close_wait = 3 },
        busy = { cpu_user_pct = 48, cpu_sys_pct = 9, cpu_iowait_pct = 2, mem_used_pct = 70,
            swap_used_pct = 1.2, disk_usage_pct = 43, net_in_mb_s = 16, net_out_mb_s = 18,
            back_close_wait = 12, front_close_wait = 10 },
    },
    data_ingest = {
        name = "ppetl%02d", weekend = 0.80, java_share = 0.60, mem_pressure_pct = 91,
        upstream_gain = 0.4, log_growth_pct = 12,
        -- The nightly load runs from one to five.
        activity = { 0.52, 0.88, 0.98, 0.96, 0.86, 0.56, 0.36, 0.30, 0.32, 0.36, 0.36, 0.38,
            0.48, 0.46, 0.38, 0.36, 0.36, 0.38, 0.44, 0.40, 0.34, 0.32, 0.34, 0.40 },
        noise = { activity = 0.06, cpu_user_pct = 2.4, mem_used_pct = 1.2 },
        quiet = { cpu_user_pct = 8, cpu_sys_pct = 3, cpu_iowait_pct = 2, mem_used_pct = 50,
            swap_used_pct = 0.6, disk_usage_pct = 52, net_in_mb_s = 6, net_out_mb_s = 4,
            back_close_wait = 2, front_close_wait = 2 },
        busy = { cpu_user_pct = 66, cpu_sys_pct = 12, cpu_iowait_pct = 10, mem_used_pct = 78,
            swap_used_pct = 2, disk_usage_pct = 58, net_in_mb_s = 95, net_out_mb_s = 60,
            back_close_wait = 8, front_close_wait = 6 },
    },
    risk_analytics = {
        name = "pprisk%03d", weekend = 0.30, java_share = 0.55, mem_pressure_pct = 91,
        upstream_gain = 0.3, log_growth_pct = 4,
        -- Overnight figures before the desk opens, the large run when markets close.
        activity = { 0.22, 0.20, 0.20, 0.22, 0.30, 0.58, 0.84, 0.66, 0.50, 0.54, 0.58, 0.60,
            0.54, 0.58, 0.64, 0.74, 0.92, 0.98, 0.86, 0.60, 0.44, 0.34, 0.28, 0.24 },
        noise = { activity = 0.05, cpu_user_pct = 2.2, mem_used_pct = 1.0 },
        quiet = { cpu_user_pct = 10, cpu_sys_pct = 2, cpu_iowait_pct = 0.6, mem_used_pct = 50,
            swap_used_pct = 0.4, disk_usage_pct = 46, net_in_mb_s = 2, net_out_mb_s = 2,
            back_close_wait = 2, front_close_wait = 3 },
        busy = { cpu_user_pct = 74, cpu_sys_pct = 7, cpu_iowait_pct = 3, mem_used_pct = 82,
            swap_used_pct = 1.4, disk_usage_pct = 49, net_in_mb_s = 30, net_out_mb_s = 22,
            back_close_wait = 9, front_close_wait = 9 },
    },
    generic = {
        name = "ppgen%02d", weekend = 0.65, java_share = 0.25, mem_pressure_pct = 90,
        upstream_gain = 0.1, log_growth_pct = 5,
        activity = { 0.24, 0.22, 0.22, 0.24, 0.24, 0.26, 0.32, 0.44, 0.58, 0.66, 0.66, 0.62,
            0.56, 0.60, 0.64, 0.62, 0.58, 0.50, 0.42, 0.36, 0.32, 0.28, 0.26, 0.24 },
        noise = { activity = 0.06, cpu_user_pct = 2.2, mem_used_pct = 1.0 },
        quiet = { cpu_user_pct = 7, cpu_sys_pct = 2, cpu_iowait_pct = 0.8, mem_used_pct = 40,
            swap_used_pct = 0.4, disk_usage_pct = 42, net_in_mb_s = 1, net_out_mb_s = 1,
            back_close_wait = 1, front_close_wait = 2 },
        busy = { cpu_user_pct = 46, cpu_sys_pct = 7, cpu_iowait_pct = 3, mem_used_pct = 66,
            swap_used_pct = 1, disk_usage_pct = 46, net_in_mb_s = 18, net_out_mb_s = 16,
            back_close_wait = 6, front_close_wait = 8 },
    },
}
