-- The simulated fleet: reproducible, within its ranges, and shaped like a working day.

package.path = "tests/lib/?.lua;examples/fleet/simulator/?.lua;" .. package.path

local calendar = require "calendar"
local check = require "check"
local faults = require "faults"
local fleet = require "fleet"
local rng = require "rng"
local states = require "states"

local START_MS = calendar.parse "2026-01-05" -- a Monday
local STEP_MS = 300000
local PERCENT = { 0, 100 }
local RANGES = { cpu_user_pct = PERCENT, cpu_sys_pct = PERCENT, cpu_iowait_pct = PERCENT,
    cpu_idle_pct = PERCENT, java_cpu_pct = PERCENT, mem_used_pct = PERCENT,
    swap_used_pct = PERCENT, disk_usage_pct = PERCENT, net_in_mb_s = { 0, 1000 },
    net_out_mb_s = { 0, 1000 }, back_close_wait = { 0, 10000 }, front_close_wait = { 0, 10000 },
    load_average = { 0, 100 }, uptime_days = { 0, 30 } }
local WHOLE = { "back_close_wait", "front_close_wait", "uptime_days" }

-- Every record of a fresh fleet over `days`.
local function history(options)
    local simulated = assert(fleet.new {
        servers = options.servers or 20, seed = options.seed or 1, start_ms = START_MS,
        scenario = options.scenario,
    })
    local records = {}
    local end_ms = START_MS + options.days * calendar.DAY_MS
    for now_ms = START_MS, end_ms - 1, options.step_ms or STEP_MS do
        for _, record in ipairs(fleet.advance(simulated, now_ms)) do
            records[#records + 1] = record
        end
    end
    return records
end

local function mean_of(records, metric, accepts)
    local total, count = 0, 0
    for _, record in ipairs(records) do
        if accepts(record) then
            total, count = total + record[metric], count + 1
        end
    end
    return total / count, count
end

local function hour_of(record)
    return tonumber(record.timestamp:sub(12, 13))
end

check.test("the calendar agrees with known dates", function()
    check.equal(calendar.parse "1970-01-01", 0)
    check.equal(calendar.parse "2000-02-29T12:00:00Z", 951825600000)
    check.equal(calendar.iso(951825600000), "2000-02-29T12:00:00Z")
    check.equal(calendar.iso(1798761599000), "2026-12-31T23:59:59Z")
    check.equal(calendar.weekday(START_MS), 0)
    check.equal(calendar.parse "yesterday", nil)
    check.equal(calendar.parse "2026-01-01 noon", nil)
end)

check.test("random numbers repeat per seed and stream, and are spread as they should be", function()
    local one, twin, other = rng.new(1, 1), rng.new(1, 1), rng.new(1, 2)
    local sum, squares, differs = 0, 0, false
    for _ = 1, 20000 do
        local value = rng.normal(one)
        check.equal(value, rng.normal(twin))
        differs = differs or value ~= rng.normal(other)
        sum, squares = sum + value, squares + value * value
    end
    check.truth(differs, "streams differ")
    check.near(sum / 20000, 0, 0.03, "mean")
    check.near(squares / 20000, 1, 0.05, "variance")
end)

check.test("one seed gives one fleet, another seed another", function()
    local one, twin = history { days = 1 }, history { days = 1 }
    check.equal(#one, #twin)
    for index = 1, #one, 97 do
        check.same(one[index], twin[index])
    end
    local other = history { days = 1, seed = 2 }
    check.truth(other[1].cpu_user_pct ~= one[1].cpu_user_pct, "seed matters")
end)

check.test("more servers leave the others as they were", function()
    local few, many = history { days = 0.1, servers = 7 }, history { days = 0.1, servers = 40 }
    check.equal(few[1].server_name, many[1].server_name)
    check.equal(few[1].cpu_user_pct, many[1].cpu_user_pct)
end)

check.test("every profile is there, named by its kind", function()
    local simulated = fleet.new { servers = 7, seed = 1, start_ms = START_MS }
    local names = {}
    for _, one in ipairs(simulated.servers) do
        names[one.profile] = one.name
    end
    check.same(names, { ml_compute = "ppml0001", database = "ppdb001", web_api = "ppweb001",
        conductor_mgmt = "ppcon01", data_ingest = "ppetl01", risk_analytics = "pprisk001",
        generic = "ppgen01" })
end)

check.test("metrics stay in range, whole numbers are whole, cpu shares add up to 100", function()
    for _, scenario in ipairs { "healthy", "degrading", "critical", "cascade" } do
        for _, record in ipairs(history { days = 3, scenario = scenario }) do
            for metric, range in pairs(RANGES) do
                local value = record[metric]
                check.truth(value >= range[1] and value <= range[2],
                    record.server_name .. " " .. metric .. " = " .. tostring(value))
            end
            for _, metric in ipairs(WHOLE) do
                check.equal(record[metric] % 1, 0, metric)
            end
            check.near(record.cpu_user_pct + record.cpu_sys_pct + record.cpu_iowait_pct
                + record.cpu_idle_pct, 100, 0.011, "cpu shares")
            check.truth(states[record.status] and record.status ~= "offline", record.status)
        end
    end
end)

check.test("web servers work by day, batch servers by night, fewer at weekends", function()
    local records = history { days = 14 }
    local function cpu(profile, from, to, weekend)
        return (mean_of(records, "cpu_user_pct", function(record)
            local day = calendar.weekday(calendar.parse(record.timestamp))
            local hour = hour_of(record)
            return record.profile == profile and hour >= from and hour < to
                and (day >= 5) == weekend
        end))
    end
    check.truth(cpu("web_api", 9, 17, false) > 2 * cpu("web_api", 1, 5, false), "web by day")
    check.truth(cpu("data_ingest", 1, 4, false) > 1.4 * cpu("data_ingest", 9, 17, false),
        "batch by night")
    check.truth(cpu("web_api", 9, 17, false) > 1.4 * cpu("web_api", 9, 17, true), "quiet weekend")
end)

check.test("the step does not change the statistics", function()
    local function everything()
        return true
    end
    local metric = "cpu_user_pct"
    local coarse, coarse_count = mean_of(history { days = 2 }, metric, everything)
    local fine, fine_count = mean_of(history { days = 2, step_ms = 30000 }, metric, everything)
    check.near(fine, coarse, 3, "mean cpu_user_pct")
    check.near(fine_count / coarse_count, 10, 0.2, "records")
end)

check.test("a memory leak shows hours before it bites, and ends with a restart", function()
    local simulated = fleet.new { servers = 7, seed = 3, start_ms = START_MS }
    local server = require "server"
    local web = simulated.servers[3]
    server.strike(web, START_MS, faults.scenarios.healthy, "memory_leak")
    local end_ms = web.fault.end_ms
    local seen = {}
    for now_ms = START_MS, end_ms + 4 * calendar.HOUR_MS, STEP_MS do
        for _, record in ipairs(fleet.advance(simulated, now_ms)) do
            if record.server_name == web.name then
                seen[#seen + 1] = record
            end
        end
    end
    local worst, at = 0, 0
    for index, record in ipairs(seen) do
        if record.mem_used_pct > worst then
            worst, at = record.mem_used_pct, index
        end
    end
    check.truth(worst > 95, "memory fills")
    local halfway = seen[math.floor(at / 2)]
    check.truth(halfway.mem_used_pct > seen[1].mem_used_pct + 8, "the rise shows early")
    check.truth(seen[at].swap_used_pct > 20, "and ends in swap")
    check.truth(seen[#seen].mem_used_pct < 80, "a restart frees it")
    check.equal(seen[#seen].uptime_days, 0, "uptime after the restart")
end)

check.test("an offline server sends nothing", function()
    local simulated = fleet.new { servers = 7, seed = 1, start_ms = START_MS }
    simulated.servers[2].status = "offline"
    simulated.servers[2].status_until_ms = START_MS + calendar.HOUR_MS
    check.equal(#fleet.advance(simulated, START_MS), 6)
end)

check.test("scenarios make trouble, and healthy ends it", function()
    local simulated = fleet.new { servers = 20, seed = 1, start_ms = START_MS }
    fleet.advance(simulated, START_MS)
    check.truth(#fleet.set_scenario(simulated, "critical") >= 3, "servers are struck")
    local affected = fleet.set_scenario(simulated, "healthy")
    check.equal(#affected, 0)
    local none, why = fleet.set_scenario(simulated, "doom")
    check.equal(none, nil)
    check.equal(why, "unknown scenario doom")
end)

check.test("in a cascade the web servers come to feel the database", function()
    local function iowait(scenario)
        local simulated = fleet.new { servers = 20, seed = 5, start_ms = START_MS }
        fleet.advance(simulated, START_MS)
        fleet.set_scenario(simulated, scenario)
        local records
        for now_ms = START_MS, START_MS + 2 * calendar.HOUR_MS, STEP_MS do
            records = fleet.advance(simulated, now_ms)
        end
        return (mean_of(records, "cpu_iowait_pct", function(record)
            return record.profile == "web_api"
        end))
    end
    check.truth(iowait "cascade" > iowait "healthy" + 5, "iowait of the web servers")
end)

check.test("time does not run backwards", function()
    local simulated = fleet.new { servers = 1, seed = 1, start_ms = START_MS }
    fleet.advance(simulated, START_MS + 1000)
    check.equal(fleet.advance(simulated, START_MS), nil)
end)

check.finish()
