-- The fleet's policies on small cases worked out by hand: profiles, levels, alerts, the fleet as a
-- whole. Those that judge columns are tested by scripts/fleet/tests.

package.path = "tests/lib/?.lua;scripts/fleet/?.lua;lua/?.lua;" .. package.path

-- What alerts.lua and active.lua use of the library, without the daemon.
local words = require "moondial.alert_words"
package.preload.moondial = function()
    return { forecast = words.forecast, absent = words.absent, current = words.current,
        time = { iso = function(ms)
            return "at " .. ms
        end } }
end

local active = require "active"
local alerts = require "alerts"
local check = require "check"
local metrics = require "metrics"
local policy = require "policy"
local profiles = require "profiles"
local risk = require "risk"
local states = require "states"

check.test("fourteen metrics in the models' order", function()
    check.equal(#metrics, 14)
    check.equal(metrics[1].name, "cpu_user_pct")
    check.equal(metrics[9].name, "net_in_mb_s")
    check.equal(metrics[14].name, "uptime_days")
    check.equal(#states, 8)
end)

check.test("every prefix of the registry finds its profile, in any case", function()
    local names = { ppml0001 = "ml_compute", ppgpu7 = "ml_compute", cptrain01 = "ml_compute",
        ["ml-node-3"] = "ml_compute", ppdb001 = "database", psdb2 = "database",
        oracle1 = "database", mongo01 = "database", postgres9 = "database", mysql5 = "database",
        ppweb003 = "web_api", ppapi01 = "web_api", nginx1 = "web_api", tomcat2 = "web_api",
        ["api-server-12"] = "web_api", ppcon01 = "conductor_mgmt", conductor1 = "conductor_mgmt",
        egomgmt2 = "conductor_mgmt", maestro3 = "conductor_mgmt", ppetl01 = "data_ingest",
        ppkafka1 = "data_ingest", stream4 = "data_ingest", spark5 = "data_ingest",
        flink6 = "data_ingest", pprisk001 = "risk_analytics", varrisk1 = "risk_analytics",
        credit1 = "risk_analytics", quant88 = "risk_analytics", ppgen01 = "generic" }
    for name, profile in pairs(names) do
        check.equal(profiles.of(name), profile, name)
        check.equal(profiles.of(name:upper()), profile, name:upper())
    end
end)

check.test("a prefix needs its digits, and stands at the beginning", function()
    check.equal(profiles.of "ppdb", "generic")
    check.equal(profiles.of "ppdbx1", "generic")
    check.equal(profiles.of "my-ppdb001", "generic")
    check.equal(profiles.of "ppdb001.example.net", "database")
    check.equal(profiles.of "", "generic")
end)

check.test("a record's own profile wins when we know it", function()
    check.equal(profiles.of("ppdb001", "web_api"), "web_api")
    check.equal(profiles.of("ppdb001", "mainframe"), "database")
    check.equal(profiles.label "data_ingest", "ETL/Ingest")
    check.equal(profiles.label "mainframe", "Generic")
end)

check.test("the cache of names does not grow without end", function()
    for index = 1, 25000 do
        check.equal(profiles.of("ppdb" .. index), "database")
    end
    check.equal(profiles.of "ppweb1", "web_api")
end)

check.test("levels begin at 70, 40 and 20, before rounding", function()
    check.equal(risk.level(70).level, "critical")
    check.equal(risk.level(69.99).level, "warning")
    check.equal(risk.level(40).level, "warning")
    check.equal(risk.level(39.99).level, "watch")
    check.equal(risk.level(20).level, "watch")
    check.equal(risk.level(0).level, "healthy")
end)

check.test("the shipped rules are good rules on the fleet's metrics", function()
    local columns, names, mistakes, lines = {}, {}, {}, {}
    for index, metric in ipairs(metrics) do
        columns[index] = { name = metric.name }
    end
    for index, profile in ipairs(profiles.registry) do
        names[index] = profile.name
    end
    local described = require("moondial.alerts").describe({ series = "servers", entity = "server",
        rules = alerts, profiles = names, quantiles = { 0.1, 0.5, 0.9 } },
        { { name = "servers", step_s = 300, grace_s = 10, columns = columns } }, mistakes, lines)
    check.same(mistakes, {})
    check.same(lines, {})
    local limits = {}
    for _, rule in ipairs(described.rules) do
        local limit = rule.above_or_below
        limits[rule.name] = limit and limit.fallback or "none"
        if limit then
            check.truth(rule.clear.fallback < limit.fallback, rule.name .. " has hysteresis")
            check.truth(rule.kind == "current" or rule.within_ms <= 3600000, rule.name)
        end
    end
    check.same(limits, { cpu_saturation = 95, cpu_high = 85, memory_exhaustion = 98,
        memory_high = 90, iowait_saturation = 30, iowait_high = 20, swap_exhaustion = 40,
        swap_high = 25, disk_full = 95, disk_filling = 85, feed_silent = "none" })
end)

-- An alert of the engine's.
local function alert(fields)
    local made = { rule = "cpu_high", severity = "warning", server = "a", metric = "cpu_user_pct",
        state = "firing", value = 88.123456, limit = 85, lead_steps = 3, lead_min = 15,
        active_ms = 5, fired_ms = 7, fingerprint = "0123", annotations = { summary = "it rises" },
        silenced_by = {}, inhibited_by = {} }
    for name, value in pairs(fields) do
        made[name] = value
    end
    return made
end

check.test("an alert keeps the fields that dashboards know", function()
    check.same(active.of { alert {} }, { { server = "a", metric = "cpu_user_pct",
        severity = "warning", predicted_value = 88.1235, threshold = 85, steps_ahead = 3,
        minutes_ahead = 15, message = "it rises", rule = "cpu_high", state = "firing",
        since = "at 7", fingerprint = "0123", annotations = { summary = "it rises" },
        silenced_by = {}, inhibited_by = {} } })
    check.equal(active.of({ alert { maintenance = "backup" } })[1].maintenance, "backup")
    check.same(active.of {}, {})
end)

check.test("one alert a server and metric: the most severe", function()
    local list = active.of { alert {}, alert { rule = "cpu_saturation", severity = "critical",
        lead_steps = 6, lead_min = 30 }, alert { server = "b" } }
    check.equal(#list, 2)
    check.equal(list[1].rule, "cpu_saturation")
    check.equal(list[1].critical_minutes_ahead, 30)
    check.equal(list[2].critical_minutes_ahead, nil)
    local soonest = active.of { alert { lead_steps = 4 }, alert { rule = "x", lead_steps = 2 } }
    check.equal(#soonest, 1)
    check.equal(soonest[1].rule, "x")
end)

check.test("rules without a metric stand each for itself", function()
    local list = active.of { alert { metric = "", rule = "swap_and_io" },
        alert { metric = "", rule = "other" } }
    check.equal(#list, 2)
end)

check.test("an alert without a number, a lead or a summary", function()
    local made = alert { lead_steps = 0, lead_min = 0, annotations = {}, severity = "critical" }
    made.value, made.limit, made.fired_ms = nil, nil, nil
    local entry = active.of({ made })[1]
    check.equal(entry.predicted_value, nil)
    check.equal(entry.critical_minutes_ahead, nil)
    check.equal(entry.message, "cpu_high: a")
    check.equal(entry.since, "at 5")
end)

check.test("alerts are sorted most severe first, then by time, ties in order", function()
    local list = active.sort {
        { severity = "warning", minutes_ahead = 5, server = "a" },
        { severity = "critical", minutes_ahead = 10, server = "b" },
        { severity = "critical", minutes_ahead = 5, server = "c" },
        { severity = "critical", minutes_ahead = 10, server = "d" },
        { severity = "page", minutes_ahead = 0, server = "e" },
    }
    local order = {}
    for index, entry in ipairs(list) do
        order[index] = entry.server
    end
    check.equal(table.concat(order), "cbdae")
end)

local function mistake_of(checked, given, ...)
    local ok, why = pcall(checked, "risk.lua", "TABLE", given, ...)
    return not ok and why or "none"
end

check.test("mistakes in policy tables are said, with what was meant", function()
    local function by_profile(given)
        return mistake_of(policy.by_profile, given, policy.points, { mem_used_pct = {} })
    end
    local points = { current = { { 99, 50 } } }
    check.equal(by_profile { database = { mem_used_pct = points } }, "none")
    check.equal(by_profile { databse = {} },
        "risk.lua: TABLE: nothing is named 'databse' (did you mean 'database'?)")
    check.equal(by_profile { default = { mem_usd_pct = points } },
        "risk.lua: TABLE.default: nothing is named 'mem_usd_pct' (did you mean 'mem_used_pct'?)")
    check.equal(by_profile { default = { mem_used_pct = { curent = {} } } },
        "risk.lua: TABLE.default.mem_used_pct: unknown key 'curent' "
        .. "(did you mean 'current'?)")
    check.equal(by_profile { default = 5 },
        "risk.lua: TABLE.default must be a table, not a number")
    check.equal(by_profile { database = { disk_usage_pct = points } },
        "risk.lua: TABLE.database.disk_usage_pct never counts: disk_usage_pct must be in the table "
        .. "for all, too, if only as {}")
end)

check.test("levels are checked before an answer needs them", function()
    local function levels(first, second)
        local list = {}
        for index, from in ipairs { first, second } do
            list[index] = { level = "l", from = from, color = "c", emoji = "e", label = "L" }
        end
        return mistake_of(policy.levels, list)
    end
    check.equal(levels(40, 0), "none")
    check.equal(mistake_of(policy.levels, {}), "risk.lua: TABLE is empty")
    check.equal(levels(40, 40), "risk.lua: TABLE[2] is not below the one before: highest first")
    check.equal(levels("40", 0), "risk.lua: TABLE[1]: 'from' must be a number, not a string")
    check.equal(levels(40, 0 / 0), "risk.lua: TABLE[2] is not below the one before: highest first")
    check.equal(mistake_of(policy.levels, { { level = "l", from = 0, color = "c", emoji = "e" } }),
        "risk.lua: TABLE[1]: 'label' is missing")
end)

check.test("figures name metrics that there are", function()
    local function figures(metric)
        return mistake_of(policy.figures, { { name = "cpu", metric = metric, unit = "%" } })
    end
    check.equal(figures "cpu_used_pct", "none")
    check.equal(figures "cpu_usd_pct",
        "risk.lua: TABLE[1]: nothing is named 'cpu_usd_pct' (did you mean 'cpu_used_pct'?)")
    check.equal(mistake_of(policy.figures, {}), "risk.lua: TABLE is empty")
    check.equal(figures(nil), "risk.lua: TABLE[1]: 'metric' is missing")
    check.equal(figures(5), "risk.lua: TABLE[1]: 'metric' must be a string, not a number")
end)

check.test("points and pairs are checked down to their numbers", function()
    local function points(given)
        return mistake_of(policy.by_metric, { load_average = given }, policy.points)
    end
    check.equal(points { current = { { 12, 20 }, { 8, 10 } } }, "none")
    check.equal(points { current = { { 8, 10 }, { 12, 20 } } },
        "risk.lua: TABLE.load_average.current[2] is not below the one before: highest first")
    check.equal(points { current = { { 12 } } },
        "risk.lua: TABLE.load_average.current[1] must be two numbers in braces")
    check.equal(points { current = 12 },
        "risk.lua: TABLE.load_average: 'current' must be a list, not a number")
    check.equal(mistake_of(policy.by_metric, { cpu_idle_pct = { 20, "10" } }, policy.pair),
        "risk.lua: TABLE.cpu_idle_pct must be two numbers in braces")
end)

check.test("limits of forecasts are for metrics that are sent", function()
    check.equal(mistake_of(policy.by_forecast, { cpu_idle_pct = { 20, 10 } }, policy.pair), "none")
    local why = mistake_of(policy.by_forecast, { cpu_used_pct = { 80, 90 } }, policy.pair)
    check.equal(why:match "TABLE: nothing is named '(.-)'", "cpu_used_pct")
end)

check.test("weights and spans are named with what is allowed", function()
    local function weights(given)
        return mistake_of(policy.numbers, given, { current = { 0, 1 }, predicted = { 0, 1 } })
    end
    check.equal(weights { current = 0.7, predicted = 0.3 }, "none")
    check.equal(weights { current = "0.7", predicted = 0.3 },
        "risk.lua: TABLE: 'current' must be a number, not a string")
    check.equal(weights { current = 0.7 }, "risk.lua: TABLE: 'predicted' is missing")
    check.equal(weights { curent = 0.7, predicted = 7, current = 1 },
        "risk.lua: TABLE.predicted must be from 0 to 1, not 7\n"
        .. "risk.lua: TABLE: unknown key 'curent' (did you mean 'current'?)")
    check.equal(weights { current = 0 / 0, predicted = 0 },
        "risk.lua: TABLE.current must be from 0 to 1, not nan")
    check.equal(weights(0.7), "risk.lua: TABLE must be a table, not a number")
    local function spans(given)
        return mistake_of(policy.numbers_by, given, { "near" }, { steps_min = { 1, math.huge } })
    end
    check.equal(spans { near = { steps_min = 6 } }, "none")
    check.equal(spans { near = { steps_min = 0 } },
        "risk.lua: TABLE.near.steps_min must be from 1 to inf, not 0")
    check.equal(spans { near = 6 }, "risk.lua: TABLE: 'near' must be a map, not a number")
    check.equal(spans { nera = { steps_min = 6 } }, "risk.lua: TABLE: 'near' is missing\n"
        .. "risk.lua: TABLE: unknown key 'nera' (did you mean 'near'?)")
end)

check.finish()
