-- The simulator as a service: `moondial serve examples/fleet/simulator`. It streams a fleet to a
-- daemon and lets people change what happens to it:
--
--     curl -d '{"scenario": "cascade"}' http://127.0.0.1:8001/scenario/set

local md = require "moondial"
local faults = require "faults"
local stream = require "stream"

-- The stream looks for a new scenario every second; do not wait for it longer than this.
local WAIT_S, POLL_S = 5, 0.1
local SHOWN_AFFECTED_MAX = 10

local function shared()
    return md.dict "simulator"
end

local function scenario()
    return shared():get "scenario" or md.config.scenario
end

local function affected()
    return shared():get "affected" or {}
end

local function ticks()
    return shared():get "ticks" or 0
end

local function set_scenario(request)
    local body, why = request:json()
    if not body then
        return md.fail(why)
    end
    local wanted = body.scenario
    if type(wanted) ~= "string" or not faults.scenarios[wanted] then
        return 422, { status = "error", code = "UNPROCESSABLE", field = "scenario",
            message = "Invalid scenario: " .. tostring(wanted),
            detail = "scenario must be healthy, degrading, critical or cascade" }
    end
    local before = scenario()
    shared():set("wanted", wanted)
    for _ = 1, WAIT_S / POLL_S do
        if scenario() == wanted then
            break
        end
        md.sleep(POLL_S)
    end
    return { status = "success", old_scenario = before, new_scenario = wanted,
        affected_servers = #affected(), tick_count = ticks() }
end

local function scenario_status()
    local names, shown = affected(), {}
    for index = 1, math.min(#names, SHOWN_AFFECTED_MAX) do
        shown[index] = names[index]
    end
    return { scenario = scenario(), affected_servers = md.json.array(shown),
        total_affected = #names, fleet_size = md.config.servers, tick_count = ticks() }
end

local function status()
    return { running = true, scenario = scenario(), tick_count = ticks(),
        fleet_size = md.config.servers, affected_servers = #affected(),
        inference_url = md.config.target_url }
end

local function root()
    return { service = "Metrics Generator Daemon", version = "2.0", status = "streaming",
        scenario = scenario(), fleet_size = md.config.servers,
        endpoints = { set_scenario = "POST /scenario/set",
            scenario_status = "GET /scenario/status", status = "GET /status" } }
end

return md.app {
    name = "simulator",
    version = "0.1.0",
    routes = {
        md.get("/", root),
        md.get("/status", status),
        md.get("/scenario/status", scenario_status),
        md.post("/scenario/set", set_scenario),
    },
    timers = { { name = "stream", every_s = 1, run = stream.run } },
}
