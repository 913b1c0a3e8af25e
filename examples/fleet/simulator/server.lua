-- One simulated server: how it changes over time, and what it would report.
--
-- Everything here is a process in continuous time, so a fleet has the same statistics whether it is
-- sampled every five seconds or every five minutes: noise decays with exp(-dt / tau), states and
-- faults last for drawn durations, and what a state changes is approached through a time constant.
-- Activity is the hidden cause (how much work there is); metrics follow from it, then faults pull
-- on one metric, then metrics push each other (swap makes iowait, cpu makes load).

local calendar = require "calendar"
local faults = require "faults"
local profiles = require "profiles"
local rng = require "rng"
local states = require "states"

local MINUTE_MS, HOUR_MS, DAY_MS = calendar.MINUTE_MS, calendar.HOUR_MS, calendar.DAY_MS
local CORES = 8
local UPTIME_MAX_DAYS = 30

-- How fast each hidden quantity forgets, in minutes.
local TAU_MIN = { activity = 45, cpu = 25, mem = 120, io = 20, net = 15, state = 6, slow = 90,
    repair = 7 }

local server = { TAU_MIN = TAU_MIN }

local function clamp(value, low, high)
    return value < low and low or value > high and high or value
end

local function round(value, digits)
    local scale = 10 ^ digits
    return math.floor(value * scale + 0.5) / scale
end

local function in_hours(hours, hour)
    if hours[1] <= hours[2] then
        return hour >= hours[1] and hour < hours[2]
    end
    return hour >= hours[1] or hour < hours[2]
end

local function state_fits(state, now_ms)
    if state.days == "working" and calendar.weekday(now_ms) >= 5 then
        return false
    end
    return not state.hours or in_hours(state.hours, calendar.hour(now_ms))
end

-- Choices of the current state that fit the moment; sudden trouble is weighted by the scenario.
local function next_choices(self, now_ms, scenario)
    local choices = {}
    for _, choice in ipairs(states[self.status].next) do
        local name, weight = choice[1], choice[2]
        if state_fits(states[name], now_ms) then
            if name == "critical_issue" then
                weight = weight * scenario.critical_weight
            elseif name == "maintenance" and now_ms - self.boot_ms > self.patch_after_ms then
                weight = 1e6
            end
            choices[#choices + 1] = { name, weight }
        end
    end
    return #choices > 0 and choices or { { "healthy", 1 } }
end

local function enter(self, name, at_ms)
    if self.status == "offline" or self.status == "maintenance" then
        self.boot_ms = at_ms
    end
    self.status = name
    self.status_until_ms = at_ms + rng.between(self.source, states[name].dwell_min) * MINUTE_MS
end

local function draw_calm_ms(self, scenario)
    local between = scenario.days_between
    local mean_days = self.problem_child and between.problem or between.ordinary
    return rng.exponential(self.source, mean_days) * DAY_MS
end

-- Begin a fault of `kind`, or of a drawn one, at `at_ms`.
function server.strike(self, at_ms, scenario, kind)
    kind = kind or rng.choose(self.source, faults.mix)
    local shape = faults.kinds[kind]
    local ramp_ms = rng.between(self.source, shape.ramp_h) * HOUR_MS * scenario.ramp
    self.fault = {
        kind = kind,
        begin_ms = at_ms,
        ramp_ms = ramp_ms,
        end_ms = at_ms + ramp_ms + rng.between(self.source, shape.hold_min) * MINUTE_MS,
    }
end

-- Somebody fixes it: the metric recovers from here on.
function server.fix(self, at_ms, scenario)
    if self.fault then
        enter(self, faults.kinds[self.fault.kind].fix, at_ms)
        self.fault = nil
    end
    self.calm_until_ms = at_ms + draw_calm_ms(self, scenario)
end

function server.new(options)
    local source = rng.new(options.seed, options.index)
    local self = {
        name = options.name,
        profile = options.profile,
        problem_child = options.problem_child,
        source = source,
        status = "healthy",
        status_until_ms = options.start_ms + rng.between(source, { 0, 90 }) * MINUTE_MS,
        boot_ms = options.start_ms - rng.between(source, { 0, 22 }) * DAY_MS,
        patch_after_ms = rng.between(source, { 18, 28 }) * DAY_MS,
        -- Personality: no two servers of a profile are quite alike.
        phase_h = rng.between(source, { -0.5, 0.5 }),
        size = rng.between(source, { 0.85, 1.12 }),
        offset = {
            cpu_user_pct = rng.between(source, { -3, 4 }),
            mem_used_pct = rng.between(source, { -5, 3 }),
            disk_usage_pct = rng.between(source, { -12, 14 }),
        },
        noise = { activity = rng.normal(source), cpu = rng.normal(source), mem = rng.normal(source),
            io = rng.normal(source), net = rng.normal(source) },
        damage = { memory_leak = 0, disk_fill = 0, io_saturation = 0, cpu_creep = 0 },
        state_activity = 1,
        state_iowait_pct = 0,
        job_activity = 0,
        job_running = false,
        job_until_ms = options.start_ms,
    }
    self.slow_activity = server.planned_activity(self, options.start_ms)
    self.calm_until_ms = options.start_ms + draw_calm_ms(self, options.scenario)
    return self
end

-- Activity by the clock alone: the profile's hours, shifted and scaled for this server.
function server.planned_activity(self, now_ms)
    local profile = profiles[self.profile]
    local hour = (calendar.hour(now_ms) + self.phase_h) % 24
    local whole = math.floor(hour)
    local from = profile.activity[whole + 1]
    local to = profile.activity[(whole + 1) % 24 + 1]
    local share = calendar.weekday(now_ms) >= 5 and profile.weekend or 1
    return (from + (to - from) * (hour - whole)) * share * self.size
end

local function advance_state(self, now_ms, scenario)
    while now_ms >= self.status_until_ms do
        local at_ms = self.status_until_ms
        enter(self, rng.choose(self.source, next_choices(self, at_ms, scenario)), at_ms)
    end
end

local function advance_fault(self, now_ms, scenario, decay)
    if not self.fault and now_ms >= self.calm_until_ms then
        server.strike(self, now_ms, scenario)
    end
    for kind, level in pairs(self.damage) do
        self.damage[kind] = level * decay.repair
    end
    local fault = self.fault
    if not fault then
        return
    end
    local strength = clamp((now_ms - fault.begin_ms) / fault.ramp_ms, 0, 1)
    strength = strength ^ faults.kinds[fault.kind].shape
    self.damage[fault.kind] = math.max(self.damage[fault.kind], strength)
    if now_ms >= fault.end_ms then
        server.fix(self, now_ms, scenario)
    elseif strength >= 0.9 and self.status ~= "critical_issue" then
        self.status = "critical_issue"
        self.status_until_ms = fault.end_ms
    end
end

local function advance_job(self, now_ms, decay)
    local jobs = profiles[self.profile].jobs
    if not jobs then
        return
    end
    while now_ms >= self.job_until_ms do
        self.job_running = not self.job_running
        local hours = rng.between(self.source, self.job_running and jobs.run_h or jobs.pause_h)
        self.job_until_ms = self.job_until_ms + hours * HOUR_MS
    end
    local target = self.job_running and jobs.activity or -0.5 * jobs.activity
    self.job_activity = target + (self.job_activity - target) * decay.state
end

-- Move to `now_ms`. `decay` holds exp(-dt / tau) for each tau, `kick` the matching sqrt(1 - d^2).
function server.advance(self, now_ms, scenario, decay, kick)
    advance_state(self, now_ms, scenario)
    advance_fault(self, now_ms, scenario, decay)
    advance_job(self, now_ms, decay)
    for _, name in ipairs { "activity", "cpu", "mem", "io", "net" } do
        self.noise[name] = self.noise[name] * decay[name] + rng.normal(self.source) * kick[name]
    end
    local state = states[self.status]
    self.state_activity = state.activity
        + (self.state_activity - state.activity) * decay.state
    local iowait_pct = state.cpu_iowait_pct or 0
    self.state_iowait_pct = iowait_pct + (self.state_iowait_pct - iowait_pct) * decay.state
end

-- How much work there is now; `felt` is the database trouble this server feels, 0 ... 1 or more.
local function activity_now(self, now_ms, felt)
    local profile = profiles[self.profile]
    local wanted = server.planned_activity(self, now_ms) + self.job_activity
        + profile.noise.activity * self.noise.activity
    return clamp(wanted * self.state_activity * (1 + 0.35 * felt), 0, 1.4)
end

-- The metric at this activity, then pulled by the faults that concern it.
local function level(self, metric, activity)
    local profile = profiles[self.profile]
    local quiet = profile.quiet[metric]
    local value = quiet + (profile.busy[metric] - quiet) * activity + (self.offset[metric] or 0)
    for kind, strength in pairs(self.damage) do
        local fault = faults.kinds[kind]
        if fault.metric == metric and value < fault.towards then
            value = value + (fault.towards - value) * strength
        end
    end
    return value
end

-- Memory and disk move slowly; beyond its pressure point the server swaps.
local function storage_metrics(self, now_ms, out)
    local profile = profiles[self.profile]
    local mem = level(self, "mem_used_pct", self.slow_activity)
        + profile.noise.mem_used_pct * self.noise.mem
    out.mem_used_pct = round(clamp(mem, 1, 99.8), 2)
    local pressure = math.max(0, out.mem_used_pct - profile.mem_pressure_pct)
    local swap = level(self, "swap_used_pct", self.slow_activity) + 6 * pressure
    out.swap_used_pct = round(clamp(swap, 0, 95), 2)
    -- Logs grow through the day and are rotated at midnight.
    local logs = profile.log_growth_pct * calendar.hour(now_ms) / 24
    local disk = level(self, "disk_usage_pct", self.slow_activity)
    out.disk_usage_pct = round(clamp(disk + math.min(logs, math.max(0, 97 - disk)), 1, 99.8), 2)
end

-- user + system + iowait + idle = 100; iowait squeezes the rest when there is not room for all.
local function cpu_metrics(self, activity, felt, out)
    local profile = profiles[self.profile]
    local mem_pressure = math.max(0, out.mem_used_pct - profile.mem_pressure_pct)
    local iowait = level(self, "cpu_iowait_pct", activity) * math.exp(0.22 * self.noise.io)
        + self.state_iowait_pct + 14 * felt + 0.25 * math.max(0, out.swap_used_pct - 6)
        + 1.5 * math.max(0, out.disk_usage_pct - 93)
    iowait = clamp(iowait, 0, 75)
    local user = level(self, "cpu_user_pct", activity)
        + profile.noise.cpu_user_pct * self.noise.cpu + 2 * profile.java_share * mem_pressure
    local system = level(self, "cpu_sys_pct", activity) * math.exp(0.1 * self.noise.cpu)
        + 0.5 * mem_pressure
    user, system = clamp(user, 0.5, 98), clamp(system, 0.3, 30)
    local room = 99.6 - iowait
    if user + system > room then
        local squeeze = room / (user + system)
        user, system = user * squeeze, system * squeeze
    end
    out.cpu_user_pct = round(user, 2)
    out.cpu_sys_pct = round(system, 2)
    out.cpu_iowait_pct = round(iowait, 2)
    out.cpu_idle_pct = round(100 - out.cpu_user_pct - out.cpu_sys_pct - out.cpu_iowait_pct, 2)
    out.java_cpu_pct = round(out.cpu_user_pct * profile.java_share, 2)
end

local function traffic_metrics(self, activity, felt, out)
    local swing = math.exp(0.18 * self.noise.net)
    out.net_in_mb_s = round(level(self, "net_in_mb_s", activity) * swing, 2)
    out.net_out_mb_s = round(level(self, "net_out_mb_s", activity) * swing, 2)
    -- Connections are closed late when the server cannot keep up.
    local stress = math.max(0, out.cpu_user_pct + out.cpu_iowait_pct - 72) / 28 + felt
    local back = level(self, "back_close_wait", activity) * (1 + 2.5 * stress) * swing
    local front = level(self, "front_close_wait", activity) * (1 + 2 * stress) * swing
    out.back_close_wait = round(math.max(0, back), 0)
    out.front_close_wait = round(math.max(0, front), 0)
    local running = CORES * (out.cpu_user_pct + out.cpu_sys_pct) / 100
    local waiting = 0.16 * out.cpu_iowait_pct
    out.load_average = round(math.max(0, (running + waiting) * (1 + 0.03 * self.noise.cpu)), 2)
end

-- What the server reports at `now_ms`, or nil while it is offline.
function server.sample(self, now_ms, pressure, decay)
    local felt = pressure * profiles[self.profile].upstream_gain
    local activity = activity_now(self, now_ms, felt)
    self.slow_activity = activity + (self.slow_activity - activity) * decay.slow
    if self.status == "offline" then
        return nil
    end
    local out = {}
    storage_metrics(self, now_ms, out)
    cpu_metrics(self, activity, felt, out)
    traffic_metrics(self, activity, felt, out)
    out.uptime_days = math.min(UPTIME_MAX_DAYS, math.floor((now_ms - self.boot_ms) / DAY_MS))
    return out
end

return server
