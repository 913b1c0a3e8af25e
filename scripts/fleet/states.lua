-- What a server may report as its status. Alphabetical; the models number them in this order.

return { "critical_issue", "healthy", "heavy_load", "idle", "maintenance", "morning_spike",
    "offline", "recovery" }
