-- Real machines as servers of the fleet: `moondial serve examples/fleet/collector`. Reads this
-- machine's /proc every few seconds and scrapes node_exporters, and sends a record of each to the
-- daemon.

local md = require "moondial"
local exporter = require "exporter"
local proc = require "proc"
local rates = require "rates"

-- The last reading of each machine. It lives in the one Lua state that runs the timers.
local before = {}

local function count(outcome)
    md.dict("collector"):incr(outcome, 1)
end

-- What is wrong with a target is worth a line when it begins and when it ends.
local problems = {}

local function tell(target, problem)
    if problem and not problems[target] then
        md.log.warn("%s: %s", target, problem)
    elseif problems[target] and not problem then
        md.log.info("%s: works again", target)
    end
    problems[target] = problem
end

local function post(records)
    local headers = { ["Content-Type"] = "application/json" }
    if md.config.target_key ~= "" then
        headers["X-API-Key"] = md.config.target_key
    end
    local answer, why = md.http.post(md.config.target_url .. "/feed/data",
        md.json.encode { records = records }, { headers = headers })
    local problem = not answer and why.detail
        or answer.status >= 300 and answer.status .. " " .. answer.body:sub(1, 200)
    count(problem and "failed" or "sent")
    tell("the daemon", problem)
end

local function send(name, reading)
    local record = before[name] and rates.record(before[name], reading)
    before[name] = reading
    if not record then
        return
    end
    record.timestamp = md.time.iso(reading.time_ms)
    record.server_name = name
    record.status = "healthy"
    post { record }
end

local function local_name()
    if md.config.local_name ~= "" then
        return md.config.local_name
    end
    local text = md.file.read "/proc/sys/kernel/hostname"
    return text and text:match("%S+") or "localhost"
end

local function collect_local()
    if not md.config.collect_local then
        return
    end
    local reading = proc.read(md.file.read, md.now_ms())
    local disk = md.file.usage(md.config.disk_path)
    if disk and disk.total_bytes > 0 then
        reading.gauges.disk_usage_pct = 100 * (1 - disk.free_bytes / disk.total_bytes)
    end
    send(local_name(), reading)
end

local function scrape()
    for name, url in pairs(md.config.exporters) do
        local answer, why = md.http.get(url, { timeout_ms = md.config.scrape_timeout_ms })
        local problem = not answer and why.detail
            or answer.status ~= 200 and "answered " .. answer.status
        tell(name, problem)
        if problem then
            count "unreachable"
        else
            send(name, exporter.reading(answer.body, md.now_ms()))
        end
    end
end

local function status()
    local dict = md.dict "collector"
    return { running = true, target_url = md.config.target_url,
        collect_local = md.config.collect_local, sent = dict:get "sent" or 0,
        failed = dict:get "failed" or 0, unreachable = dict:get "unreachable" or 0 }
end

return md.app {
    name = "collector",
    version = "0.1.0",
    routes = { md.get("/", status), md.get("/status", status) },
    timers = {
        { name = "local", every_s = md.config.every_s, run = collect_local },
        { name = "scrape", every_s = md.config.scrape_every_s, run = scrape },
    },
}
