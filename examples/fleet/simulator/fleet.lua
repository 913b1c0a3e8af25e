-- A simulated fleet: the same seed, size and sequence of times always give the same records.
--
--     local simulated = fleet.new { servers = 20, seed = 1, start_ms = 0 }
--     for _, record in ipairs(fleet.advance(simulated, 300000)) do ... end
--
-- A record is what one server sends at one tick: timestamp, server_name, profile, status,
-- problem_child and the 14 metrics. Offline servers send none.

local calendar = require "calendar"
local faults = require "faults"
local profiles = require "profiles"
local rng = require "rng"
local server = require "server"

-- Profiles by turns; the first seven are one of each, so that a small fleet has them all.
local TURNS = { "ml_compute", "database", "web_api", "conductor_mgmt", "data_ingest",
    "risk_analytics", "generic", "web_api", "ml_compute", "database", "web_api", "ml_compute",
    "data_ingest", "web_api", "risk_analytics", "conductor_mgmt", "ml_compute", "web_api",
    "database", "generic" }

-- A database in trouble is felt by the others after this long.
local PRESSURE_TAU_MIN = 15

local fleet = {}

fleet.METRICS = { "cpu_user_pct", "cpu_sys_pct", "cpu_iowait_pct", "cpu_idle_pct", "java_cpu_pct",
    "mem_used_pct", "swap_used_pct", "disk_usage_pct", "net_in_mb_s", "net_out_mb_s",
    "back_close_wait", "front_close_wait", "load_average", "uptime_days" }

-- Which servers are problem children: spread evenly, at least one.
local function is_problem_child(index, seed)
    local every = math.floor(1 / faults.problem_share + 0.5)
    return (index + seed) % every == every - 1
end

function fleet.new(options)
    local scenario = faults.scenarios[options.scenario or "healthy"]
    if not scenario then
        return nil, "unknown scenario " .. tostring(options.scenario)
    end
    local self = { now_ms = options.start_ms, servers = {}, pressure = 0, counts = {},
        scenario = options.scenario or "healthy", source = rng.new(options.seed or 1, 0) }
    for index = 1, options.servers or 20 do
        local profile = TURNS[(index - 1) % #TURNS + 1]
        self.counts[profile] = (self.counts[profile] or 0) + 1
        self.servers[index] = server.new {
            index = index,
            seed = options.seed or 1,
            name = profiles[profile].name:format(self.counts[profile]),
            profile = profile,
            problem_child = is_problem_child(index, options.seed or 1),
            start_ms = options.start_ms,
            scenario = scenario,
        }
    end
    return self
end

-- exp(-dt / tau) and the matching noise gain, for every time constant.
local function decays(dt_ms)
    local decay, kick = {}, {}
    for name, tau_min in pairs(server.TAU_MIN) do
        decay[name] = math.exp(-dt_ms / (tau_min * calendar.MINUTE_MS))
        kick[name] = math.sqrt(1 - decay[name] ^ 2)
    end
    return decay, kick
end

-- The io trouble of the worst database, which the other servers come to feel.
local function database_trouble(self)
    local worst = 0
    for _, one in ipairs(self.servers) do
        if one.profile == "database" then
            worst = math.max(worst, one.damage.io_saturation)
        end
    end
    return worst
end

local function record_of(one, sample, timestamp)
    sample.timestamp = timestamp
    sample.server_name = one.name
    sample.profile = one.profile
    sample.status = one.status
    sample.problem_child = one.problem_child
    return sample
end

-- Move the fleet to `now_ms`, not before where it stands, and return what is sent then.
function fleet.advance(self, now_ms)
    local dt_ms = now_ms - self.now_ms
    if dt_ms < 0 then
        return nil, "time runs forward only"
    end
    if dt_ms ~= self.dt_ms then
        self.dt_ms, self.decay, self.kick = dt_ms, decays(dt_ms)
    end
    self.now_ms = now_ms
    local scenario = faults.scenarios[self.scenario]
    for _, one in ipairs(self.servers) do
        server.advance(one, now_ms, scenario, self.decay, self.kick)
    end
    local settle = math.exp(-dt_ms / (PRESSURE_TAU_MIN * calendar.MINUTE_MS))
    local trouble = database_trouble(self) * scenario.coupling
    self.pressure = trouble + (self.pressure - trouble) * settle
    local records, timestamp = {}, calendar.iso(now_ms)
    for _, one in ipairs(self.servers) do
        local sample = server.sample(one, now_ms, self.pressure, self.decay)
        if sample then
            records[#records + 1] = record_of(one, sample, timestamp)
        end
    end
    return records
end

local function strike_origin(self, scenario)
    for _, one in ipairs(self.servers) do
        if one.profile == scenario.origin then
            server.strike(one, self.now_ms, scenario, "io_saturation")
            return
        end
    end
end

-- Change the scenario from now on; `healthy` also fixes what is broken. Returns the servers
-- that are in trouble after it, or nil and why not.
function fleet.set_scenario(self, name)
    local scenario = faults.scenarios[name]
    if not scenario then
        return nil, "unknown scenario " .. tostring(name)
    end
    self.scenario = name
    if scenario.origin then
        strike_origin(self, scenario)
    end
    local affected = {}
    for _, one in ipairs(self.servers) do
        if name == "healthy" then
            server.fix(one, self.now_ms, scenario)
        elseif not one.fault and rng.uniform(self.source) < scenario.struck then
            server.strike(one, self.now_ms, scenario)
        end
        if one.fault then
            affected[#affected + 1] = one.name
        end
    end
    return affected
end

return fleet
