-- Settings of the simulator; each can be given as a flag (--servers 50) or in the environment.

return {
    port = 8001,

    -- The fleet: see profiles.lua, states.lua and faults.lua for what it is made of.
    servers = 20,
    seed = 1,
    scenario = "healthy",

    -- Where records go, and the key to show there ("" for none).
    target_url = "http://127.0.0.1:8000",
    target_key = "",

    -- A record per server every tick_s, after a history of history_hours sent at once.
    tick_s = 5,
    history_hours = 24,
    history_step_s = 300,
}
