-- What the collector makes of /proc and of a node_exporter, on texts written by hand.

package.path = "tests/lib/?.lua;examples/fleet/collector/?.lua;" .. package.path

local check = require "check"
local exporter = require "exporter"
local proc = require "proc"
local rates = require "rates"

local STAT = "cpu  100 20 30 800 40 1 2 3 0 0\ncpu0 100 20 30 800 40 1 2 3 0 0\nintr 5\n"
local MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\n"
    .. "Active(anon):     10 kB\nSwapTotal:       400 kB\nSwapFree:        300 kB\n"
local NET = [[
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo: 9000 1 0 0 0 0 0 0 9000 1 0 0 0 0 0 0
  eth0: 1000 10 0 0 0 0 0 0 500 5 0 0 0 0 0 0
wlan0:2000 10 0 0 0 0 0 0 700 5 0 0 0 0 0 0
]]
local TCP = [[
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0
   1: 0100007F:1F90 0100007F:D2F0 08 00000000:00000000 00:00000000 00000000 0
   2: 0100007F:D2F1 0200007F:0050 08 00000000:00000000 00:00000000 00000000 0
   3: 0100007F:D2F2 0200007F:0050 01 00000000:00000000 00:00000000 00000000 0
]]
local TCP6 = "   0: 00000000000000000000000001000000:1F90 "
    .. "00000000000000000000000001000000:D2F9 08 00000000:00000000\n"

check.test("processor times, nice counted as user, interrupts and steal as system", function()
    check.same(proc.cpu(STAT), { cpu_user = 120, cpu_system = 36, cpu_iowait = 40, cpu_idle = 800 })
    check.same(proc.cpu "nonsense", {})
end)

check.test("memory in use is what is not available", function()
    check.same(proc.memory(MEMINFO), { mem_used_pct = 75, swap_used_pct = 25 })
    check.same(proc.memory "SwapTotal: 0 kB\nSwapFree: 0 kB\n", { swap_used_pct = 0 })
    check.same(proc.memory "", {})
end)

check.test("traffic of every interface but the loopback", function()
    check.same(proc.network(NET), { net_in_bytes = 3000, net_out_bytes = 1200 })
    check.same(proc.network "", {})
end)

check.test("close-waits on a port we listen on are the front, others the back", function()
    check.same(proc.close_waits { TCP, TCP6 }, { front_close_wait = 2, back_close_wait = 1 })
    check.same(proc.close_waits { "" }, { front_close_wait = 0, back_close_wait = 0 })
end)

check.test("a reading takes what can be read and leaves out the rest", function()
    local files = { ["/proc/stat"] = STAT, ["/proc/meminfo"] = MEMINFO,
        ["/proc/loadavg"] = "1.25 0.5 0.1 1/100 4242\n", ["/proc/uptime"] = "180000.5 99.0\n" }
    local reading = proc.read(function(path)
        return files[path]
    end, 1000)
    check.same(reading.gauges, { mem_used_pct = 75, swap_used_pct = 25, load_average = 1.25,
        uptime_days = 2 })
    check.equal(reading.counters.cpu_idle, 800)
    check.equal(reading.counters.net_in_bytes, nil)
end)

check.test("two readings make a record: shares of time, megabytes a second", function()
    local first = { time_ms = 1000, gauges = {}, counters = { cpu_user = 100, cpu_system = 50,
        cpu_iowait = 10, cpu_idle = 840, net_in_bytes = 1e6, net_out_bytes = 0 } }
    local second = { time_ms = 6000, gauges = { load_average = 0.123 }, counters = {
        cpu_user = 150, cpu_system = 70, cpu_iowait = 15, cpu_idle = 865,
        net_in_bytes = 11e6, net_out_bytes = 5e5 } }
    check.same(rates.record(first, second), { load_average = 0.12, cpu_user_pct = 50,
        cpu_sys_pct = 20, cpu_iowait_pct = 5, cpu_idle_pct = 25, net_in_mb_s = 2,
        net_out_mb_s = 0.1 })
    check.equal(rates.record(second, second), nil)
end)

check.test("a counter that was reset makes no rate", function()
    local first = { time_ms = 0, gauges = {}, counters = { net_in_bytes = 5e9, net_out_bytes = 1 } }
    local second = { time_ms = 5000, gauges = {}, counters = { net_in_bytes = 10,
        net_out_bytes = 5000001 } }
    check.same(rates.record(first, second), { net_out_mb_s = 1 })
end)

local EXPORTED = [[
# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.
# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{cpu="0",mode="idle"} 1000.5
node_cpu_seconds_total{cpu="1",mode="idle"} 999.5
node_cpu_seconds_total{cpu="0",mode="user"} 50
node_cpu_seconds_total{cpu="0",mode="nice"} 5
node_cpu_seconds_total{cpu="0",mode="system"} 20
node_cpu_seconds_total{cpu="0",mode="softirq"} 2
node_cpu_seconds_total{cpu="0",mode="iowait"} 3
node_filesystem_avail_bytes{device="/dev/sda1",fstype="ext4",mountpoint="/"} 2.5e+10
node_filesystem_avail_bytes{device="/dev/sdb1",fstype="ext4",mountpoint="/home"} 1
node_filesystem_size_bytes{device="/dev/sda1",fstype="ext4",mountpoint="/"} 1e+11
node_load1 0.75
node_memory_MemAvailable_bytes 4e+09
node_memory_MemTotal_bytes 1.6e+10
node_memory_SwapFree_bytes 0
node_memory_SwapTotal_bytes 0
node_network_receive_bytes_total{device="eth0"} 1e+06
node_network_receive_bytes_total{device="lo"} 5e+09
node_boot_time_seconds 1.7e+09
node_time_seconds 1.700259201e+09 1700259201000
]]

check.test("a node_exporter's page becomes a reading", function()
    local reading = exporter.reading(EXPORTED, 42)
    check.same(reading.counters, { cpu_idle = 2000, cpu_user = 55, cpu_system = 22,
        cpu_iowait = 3, net_in_bytes = 1e6 })
    check.same(reading.gauges, { load_average = 0.75, mem_used_pct = 75, swap_used_pct = 0,
        disk_usage_pct = 75, uptime_days = 3 })
end)

check.test("labels may hold quotes, commas, braces and backslashes", function()
    local samples = exporter.parse('m{a="x,\\"}y",b="c\\\\",} 7\nm 8\nm{broken 9\nm{a="z"} nope\n')
    check.equal(#samples.m, 2)
    check.same(samples.m[1], { labels = { a = 'x,"}y', b = "c\\" }, value = 7 })
    check.same(samples.m[2], { labels = {}, value = 8 })
end)

check.test("not a number, nothing and rubbish are no samples worth summing", function()
    check.equal(exporter.pick(exporter.parse "m NaN\n", { name = "m" }), nil)
    check.equal(exporter.pick(exporter.parse "", { name = "m" }), nil)
    check.same(exporter.reading("<html>busy</html>", 1).gauges, {})
end)

check.finish()
