-- Sends the simulated fleet to the daemon: a history up to now at once, then a record per server
-- every tick.
--
-- The fleet itself lives in the one Lua state that runs the timer, so it needs no lock. Requests
-- leave their wishes in the shared dictionary "simulator" and read there what came of them.

local md = require "moondial"
local calendar = require "calendar"
local fleet = require "fleet"

-- The fleet lives this long before its history begins, so that its servers are not all newborn.
local WARM_UP_MS = 2 * calendar.DAY_MS
local RECORDS_PER_POST = 1000
-- What could not be sent is kept for a while; the daemon takes rows that are up to an hour late.
local UNSENT_RECORDS_MAX = 20000

local stream = {}

local running = { simulated = nil, unsent = {}, next_ms = 0, reachable = true }

local function shared()
    return md.dict "simulator"
end

-- "sent"; "refused", which trying again does not help; or "failed", with why not.
local function send(records)
    local headers = { ["Content-Type"] = "application/json" }
    if md.config.target_key ~= "" then
        headers["X-API-Key"] = md.config.target_key
    end
    local answer, why = md.http.post(md.config.target_url .. "/feed/data",
        md.json.encode { records = records }, { headers = headers, timeout_ms = 30000 })
    if not answer then
        return "failed", why.detail
    elseif answer.status < 300 then
        return "sent"
    end
    local problem = ("%d %s"):format(answer.status, answer.body:sub(1, 200))
    local is_final = answer.status == 413 or answer.status == 422
    return is_final and "refused" or "failed", problem
end

-- One line when sending begins to fail, one when it works again.
local function say_reachable(reachable, why)
    if reachable ~= running.reachable then
        running.reachable = reachable
        if reachable then
            md.log.info("sending to %s", md.config.target_url)
        else
            md.log.warn("cannot send to %s: %s", md.config.target_url, why)
        end
    end
end

-- `list` without its first `count` entries.
local function after(list, count)
    local rest = {}
    for index = count + 1, #list do
        rest[#rest + 1] = list[index]
    end
    return rest
end

-- Sends what is waiting, oldest first, and keeps the rest for the next time when that fails.
local function flush()
    while #running.unsent > 0 do
        local part = {}
        for index = 1, math.min(#running.unsent, RECORDS_PER_POST) do
            part[index] = running.unsent[index]
        end
        local outcome, why = send(part)
        if outcome == "refused" then
            md.log.warn("%d records were refused: %s", #part, why)
        else
            say_reachable(outcome == "sent", why)
        end
        if outcome == "failed" then
            return
        end
        running.unsent = after(running.unsent, #part)
    end
end

local function queue(records)
    local unsent = running.unsent
    for _, record in ipairs(records) do
        unsent[#unsent + 1] = record
    end
    if #unsent > UNSENT_RECORDS_MAX then
        running.unsent = after(unsent, #unsent - UNSENT_RECORDS_MAX)
    end
end

local function report()
    local simulated, affected = running.simulated, {}
    for _, one in ipairs(simulated.servers) do
        if one.fault then
            affected[#affected + 1] = one.name
        end
    end
    shared():set("scenario", simulated.scenario)
    shared():set("affected", affected)
end

-- The fleet begins long ago and is brought up to the beginning of its history.
local function begin(history_ms)
    local simulated = assert(fleet.new {
        servers = md.config.servers, seed = md.config.seed, start_ms = history_ms - WARM_UP_MS,
        scenario = md.config.scenario,
    })
    for at_ms = history_ms - WARM_UP_MS, history_ms - 1, md.config.history_step_s * 1000 do
        fleet.advance(simulated, at_ms)
        md.sleep(0) -- a long life takes a while; let others run
    end
    running.simulated = simulated
end

local function send_history(now_ms)
    local step_ms = md.config.history_step_s * 1000
    local history_ms = now_ms - md.config.history_hours * calendar.HOUR_MS
    history_ms = history_ms - history_ms % step_ms
    begin(history_ms)
    -- A reloaded script has sent it already; the records of a second life would not match.
    local sent_before = shared():get "history_sent"
    for at_ms = history_ms, now_ms, step_ms do
        local records = fleet.advance(running.simulated, at_ms)
        if not sent_before then
            queue(records)
        end
        if #running.unsent >= RECORDS_PER_POST then
            flush()
        end
    end
    flush()
    shared():set("history_sent", true)
    md.log.info("sent %g hours of history of %d servers", md.config.history_hours,
        md.config.servers)
end

local function obey()
    local wanted = shared():get "wanted"
    if wanted and wanted ~= running.simulated.scenario then
        fleet.set_scenario(running.simulated, wanted)
        md.log.info("scenario %s", wanted)
    end
end

-- Called every second; sends when a tick is due.
function stream.run()
    local now_ms = md.now_ms()
    if not running.simulated then
        send_history(now_ms)
        now_ms = md.now_ms()
    end
    obey()
    if now_ms >= running.next_ms then
        running.next_ms = now_ms - now_ms % 1000 + md.config.tick_s * 1000
        queue(fleet.advance(running.simulated, now_ms))
        shared():incr("ticks", 1)
        flush()
    end
    report()
end

return stream
