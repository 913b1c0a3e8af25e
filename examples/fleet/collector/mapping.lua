-- What of a node_exporter becomes which metric. Each row sums the samples of one exported name
-- whose labels match: a label must equal a text, differ from { isnt = "x" }, or be one of
-- { one_of = { ... } }. Sums are multiplied by `scale` (1).

return {
    counters = {
        cpu_user = { name = "node_cpu_seconds_total", labels = { mode = { one_of = { "user",
            "nice" } } } },
        cpu_system = { name = "node_cpu_seconds_total", labels = { mode = { one_of = { "system",
            "irq", "softirq", "steal" } } } },
        cpu_iowait = { name = "node_cpu_seconds_total", labels = { mode = "iowait" } },
        cpu_idle = { name = "node_cpu_seconds_total", labels = { mode = "idle" } },
        net_in_bytes = { name = "node_network_receive_bytes_total",
            labels = { device = { isnt = "lo" } } },
        net_out_bytes = { name = "node_network_transmit_bytes_total",
            labels = { device = { isnt = "lo" } } },
    },

    gauges = {
        load_average = { name = "node_load1" },
        -- Only where the exporter runs with --collector.tcpstat; it cannot tell front from back.
        back_close_wait = { name = "node_tcp_connection_states",
            labels = { state = "close_wait" } },
    },

    -- 100 x (1 - free / whole)
    used_shares = {
        mem_used_pct = { free = { name = "node_memory_MemAvailable_bytes" },
            whole = { name = "node_memory_MemTotal_bytes" } },
        swap_used_pct = { free = { name = "node_memory_SwapFree_bytes" },
            whole = { name = "node_memory_SwapTotal_bytes" } },
        disk_usage_pct = {
            free = { name = "node_filesystem_avail_bytes", labels = { mountpoint = "/" } },
            whole = { name = "node_filesystem_size_bytes", labels = { mountpoint = "/" } } },
    },

    -- Whole days between two times in seconds.
    days_between = {
        uptime_days = { from = { name = "node_boot_time_seconds" },
            to = { name = "node_time_seconds" } },
    },
}
