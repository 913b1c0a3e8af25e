-- Settings of the collector; each can be given as a flag or in the environment.

return {
    port = 8002,

    -- Where records go, and the key to show there ("" for none).
    target_url = "http://127.0.0.1:8000",
    target_key = "",

    -- This machine, from /proc. Its name in the fleet; "" takes the machine's own.
    collect_local = true,
    local_name = "",
    -- The file system whose fill is reported.
    disk_path = "/",
    every_s = 5,
    read_paths = { "/proc" },

    -- Prometheus node_exporters to scrape, name = URL, for instance
    -- --exporters '{"ppdb001": "http://10.0.0.7:9100/metrics"}'
    exporters = {},
    scrape_every_s = 15,
    scrape_timeout_ms = 5000,
}
