-- A reading of this machine from the texts of /proc. Pure functions of text: proc.read names the
-- files and is given a way to read them.
--
-- A reading holds `gauges`, values as they are now, and `counters`, which only grow; rates.lua
-- makes a record of two readings.

local proc = {}

local LISTEN, CLOSE_WAIT = "0A", "08"

-- /proc/stat counts hundredths of a second; only shares of the total matter, so the unit does not.
function proc.cpu(text)
    local user, nice, system, idle, iowait, irq, softirq, steal = text:match(
        "^cpu%s+(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)")
    if not user then
        return {}
    end
    return { cpu_user = user + nice, cpu_system = system + irq + softirq + steal,
        cpu_iowait = tonumber(iowait), cpu_idle = tonumber(idle) }
end

local function share(part, whole)
    return whole and whole > 0 and part and 100 * part / whole or nil
end

function proc.memory(text)
    local kb = {}
    for name, value in text:gmatch("([%w_()]+):%s+(%d+)") do
        kb[name] = tonumber(value)
    end
    local swap_used = kb.SwapTotal and kb.SwapFree and kb.SwapTotal - kb.SwapFree
    return {
        mem_used_pct = share(kb.MemAvailable and kb.MemTotal - kb.MemAvailable, kb.MemTotal),
        swap_used_pct = kb.SwapTotal == 0 and 0 or share(swap_used, kb.SwapTotal),
    }
end

-- Bytes of all interfaces but the loopback.
function proc.network(text)
    local received, sent, found = 0, 0, false
    for name, counts in text:gmatch("([^%s:]+):%s*([%d%s]+)\n") do
        local numbers = {}
        for number in counts:gmatch("%d+") do
            numbers[#numbers + 1] = tonumber(number)
        end
        if name ~= "lo" and numbers[9] then
            received, sent, found = received + numbers[1], sent + numbers[9], true
        end
    end
    return found and { net_in_bytes = received, net_out_bytes = sent } or {}
end

-- Connections that the other side has closed and this one has not: `front` on ports that something
-- here listens on (our clients), `back` on the others (servers that we are a client of).
function proc.close_waits(texts)
    local listening, waiting = {}, {}
    for _, text in ipairs(texts) do
        for port, state in text:gmatch("%x+:(%x+) %x+:%x+ (%x%x)") do
            if state == LISTEN then
                listening[port] = true
            elseif state == CLOSE_WAIT then
                waiting[#waiting + 1] = port
            end
        end
    end
    local front = 0
    for _, port in ipairs(waiting) do
        front = front + (listening[port] and 1 or 0)
    end
    return { front_close_wait = front, back_close_wait = #waiting - front }
end

function proc.load(text)
    return { load_average = tonumber(text:match("^([%d.]+)")) }
end

function proc.uptime(text)
    local seconds = tonumber(text:match("^([%d.]+)"))
    return { uptime_days = seconds and math.floor(seconds / 86400) }
end

local function merge(into, from)
    for name, value in pairs(from) do
        into[name] = value
    end
end

-- A reading at `now_ms`. `read(path)` returns a file's text or nil; what cannot be read is left
-- out.
function proc.read(read, now_ms)
    local reading = { time_ms = now_ms, gauges = {}, counters = {} }
    local gauges = { ["/proc/meminfo"] = proc.memory, ["/proc/loadavg"] = proc.load,
        ["/proc/uptime"] = proc.uptime }
    local counters = { ["/proc/stat"] = proc.cpu, ["/proc/net/dev"] = proc.network }
    for path, parse in pairs(gauges) do
        merge(reading.gauges, parse(read(path) or ""))
    end
    for path, parse in pairs(counters) do
        merge(reading.counters, parse(read(path) or ""))
    end
    local sockets = read "/proc/net/tcp"
    if sockets then
        merge(reading.gauges, proc.close_waits { sockets, read "/proc/net/tcp6" or "" })
    end
    return reading
end

return proc
