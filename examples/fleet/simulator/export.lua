-- Writes simulated history as CSV, for training and for looking at. Plain LuaJIT is enough:
--
--     luajit examples/fleet/simulator/export.lua --servers 20 --days 30 --step 300 --seed 1 \
--         --start 2026-01-01 --scenario healthy > data.csv
--
-- One fault of choice: --strike ppdb001,disk_fill,22.5,5 begins 22.5 hours after the start and is
-- at full strength 5 hours later.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path

local calendar = require "calendar"
local faults = require "faults"
local fleet = require "fleet"
local server = require "server"

-- The fleet runs this long before the first row, so that it starts in the middle of its life.
local WARM_UP_MS = 2 * calendar.DAY_MS

local DEFAULTS = { servers = "20", days = "30", step = "300", seed = "1", start = "2026-01-01",
    scenario = "healthy", strike = "" }

local function fail(text)
    io.stderr:write("export: ", text, "\n")
    os.exit(2)
end

local function read_options(words)
    local options = setmetatable({}, { __index = DEFAULTS })
    for index = 1, #words, 2 do
        local name = words[index]:match("^%-%-(%a+)$")
        if not name or not DEFAULTS[name] then
            fail("unknown option " .. words[index])
        elseif not words[index + 1] then
            fail(words[index] .. " needs a value")
        end
        options[name] = words[index + 1]
    end
    return options
end

local function number_option(options, name, low, high)
    local value = tonumber(options[name])
    if not value or value < low or value > high then
        fail(("--%s must be a number from %g to %g"):format(name, low, high))
    end
    return value
end

-- The fault of --strike, nil when there is none.
local function strike_option(options, start_ms)
    if options.strike == "" then
        return nil
    end
    local name, kind, at_h, ramp_h = options.strike:match("^([^,]+),([%w_]+),([%d.]+),([%d.]+)$")
    if not (faults.kinds[kind or ""] and tonumber(at_h) and tonumber(ramp_h)) then
        fail("--strike must be SERVER,KIND,HOURS,HOURS with a kind of faults.lua")
    end
    return { name = name, kind = kind, at_ms = start_ms + at_h * calendar.HOUR_MS,
        ramp_ms = ramp_h * calendar.HOUR_MS }
end

local function strike_when_due(simulated, wanted, now_ms)
    for _, one in ipairs(simulated.servers) do
        if one.name == wanted.name and now_ms >= wanted.at_ms and not wanted.done then
            server.strike(one, wanted.at_ms, faults.scenarios.healthy, wanted.kind)
            local hold_ms = one.fault.end_ms - wanted.at_ms - one.fault.ramp_ms
            one.fault.ramp_ms = wanted.ramp_ms
            one.fault.end_ms = wanted.at_ms + wanted.ramp_ms + hold_ms
            wanted.done = true
        end
    end
end

local function csv_row(record)
    local cells = { record.timestamp, record.server_name, record.profile, record.status,
        record.problem_child and "1" or "0" }
    for _, metric in ipairs(fleet.METRICS) do
        cells[#cells + 1] = ("%.10g"):format(record[metric])
    end
    return table.concat(cells, ",")
end

local function main()
    local options = read_options(arg)
    local step_ms = number_option(options, "step", 1, 86400) * 1000
    local span_ms = number_option(options, "days", 0, 3660) * calendar.DAY_MS
    local start_ms = calendar.parse(options.start)
    if not start_ms then
        fail("--start must be a date such as 2026-01-01")
    end
    local strike = strike_option(options, start_ms)
    local simulated, why = fleet.new {
        servers = number_option(options, "servers", 1, 100000),
        seed = number_option(options, "seed", 0, 1048575),
        start_ms = start_ms - WARM_UP_MS,
        scenario = options.scenario,
    }
    if not simulated then
        fail(why)
    end
    for now_ms = start_ms - WARM_UP_MS, start_ms - 1, 300000 do
        fleet.advance(simulated, now_ms)
    end
    print("timestamp,server_name,profile,status,problem_child," .. table.concat(fleet.METRICS, ","))
    for now_ms = start_ms, start_ms + span_ms - 1, step_ms do
        if strike then
            strike_when_due(simulated, strike, now_ms)
        end
        for _, record in ipairs(fleet.advance(simulated, now_ms)) do
            print(csv_row(record))
        end
    end
end

main()
