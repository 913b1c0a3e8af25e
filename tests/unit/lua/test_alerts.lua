-- The vocabulary of alert rules: what is accepted, what it becomes, and what is said of mistakes.

package.path = "tests/lib/?.lua;lua/?.lua;" .. package.path

local alerts = require "moondial.alerts"
local check = require "check"

local forecast, current = alerts.words.forecast, alerts.words.current
local absent, gauge = alerts.words.absent, alerts.words.gauge

local SERIES = { { name = "servers", step_s = 300, grace_s = 10,
    columns = { { name = "cpu_user_pct" }, { name = "mem_used_pct" } } } }

local function describe(rules, others)
    local given, mistakes, lines = { series = "servers", entity = "server", rules = rules }, {}, {}
    for key, value in pairs(others or {}) do
        given[key] = value
    end
    local described = alerts.describe(given, SERIES, mistakes, lines)
    for _, mistake in ipairs(mistakes) do
        lines[#lines + 1] = mistake
    end
    table.sort(lines)
    return table.concat(lines, "\n"), described
end

-- What is said of one rule.
local function said(rule, others)
    return (describe({ rule }, others):gsub("app.lua: rule cpu: ", ""))
end

local function rule(fields)
    local made = { name = "cpu", watch = current { "cpu_user_pct" }, above = 90 }
    for key, value in pairs(fields) do
        made[key] = value
    end
    return made
end

local function raised(word, given)
    local ok, why = pcall(word, given)
    return not ok and tostring(why):gsub("^.-%d: ", "") or "none"
end

check.test("nothing is declared without alerts", function()
    check.equal(alerts.describe(nil, SERIES, {}, {}), nil)
end)

check.test("the words keep what they are given", function()
    check.same(forecast { "cpu_user_pct", quantile = 0.9, within_min = 60 },
        { kind = "forecast", columns = { "cpu_user_pct" }, quantile = 0.9, within_min = 60 })
    check.equal(forecast({ "a", within_min = 5 }).quantile, 0.5)
    check.same(current { "a", "b" }, { kind = "current", columns = { "a", "b" } })
    check.same(absent { "a" }, { kind = "absent", columns = { "a" } })
    check.equal(gauge({ "depth", labels = { model = "tft", at = "1" } }).gauge,
        'depth{at="1",model="tft"}')
    check.equal(gauge({ "seconds", quantile = 0.99 }).gauge, "quantile(0.99, seconds)")
end)

check.test("the words name their mistakes", function()
    check.equal(raised(forecast, { "a" }), "md.forecast: 'within_min' is missing")
    check.equal(raised(forecast, { "a", quantil = 1, within_min = 5 }),
        "md.forecast: unknown key 'quantil' (did you mean 'quantile'?)")
    check.equal(raised(forecast, { "a", quantile = 50, within_min = 5 }),
        "md.forecast: quantile must lie between 0 and 1, not 50")
    check.equal(raised(forecast, { "a", within_min = 0 }),
        "md.forecast: within_min must be above 0")
    check.equal(raised(current, {}), 'md.current: no name, as in current { "cpu_user_pct" }')
    check.equal(raised(current, { 5 }), "md.current: entry 1 must be a name, not a number")
    check.equal(raised(absent, "cpu"), "md.absent takes a table, not a string")
    check.equal(raised(gauge, { "a", "b" }), "md.gauge: one name; a rule for each")
    check.equal(raised(gauge, { "a", labels = { x = 5 } }), "md.gauge: label x must be a text")
end)

check.test("a rule is completed to what C reads", function()
    local text, described = describe { {
        name = "cpu", severity = "critical",
        watch = forecast { "cpu_user_pct", quantile = 0.5, within_min = 60 },
        above = { default = 95, ml_compute = 99, database = 97 }, clear_below = 85,
        for_min = 2, keep_firing_min = 10, limit = 100, labels = { team = "infra" },
        summary = "{server}", annotations = { graph = "http://x" },
    } }
    check.equal(text, "")
    check.same(described.rules[1], {
        name = "cpu", severity = "critical", kind = "forecast", columns = { "cpu_user_pct" },
        quantile = 0.5, within_ms = 3600000, is_below = false,
        above_or_below = { fallback = 95, profiles = { "database", "ml_compute" },
            values = { 97, 99 } },
        clear = { fallback = 85, profiles = {}, values = {} },
        for_ms = 120000, keep_firing_ms = 600000, instances_max = 100, no_data = "resolve",
        on_error = "keep", labels = { { name = "team", value = "infra" } },
        annotations = { { name = "graph", value = "http://x" },
            { name = "summary", value = "{server}" } },
    })
    check.equal(described.step_s, 300)
    check.equal(described.grace_s, 10)
end)

check.test("below goes with clear_above; a table need not have a default", function()
    local text, described = describe { { name = "idle", watch = current { "cpu_user_pct" },
        below = { database = 5 }, clear_above = 10 } }
    check.equal(text, "")
    check.equal(described.rules[1].is_below, true)
    check.equal(described.rules[1].above_or_below.fallback, nil)
    check.equal(described.rules[1].clear.fallback, 10)
end)

check.test("functions and gauges are listed by themselves", function()
    local function first() end
    local function second() end
    local text, described = describe { { name = "a", when = first },
        { name = "b", watch = gauge { "depth" }, above = 1 }, { name = "c", when = second } }
    check.equal(text, "")
    check.equal(described.rules[1].number, 1)
    check.equal(described.rules[3].number, 2)
    check.equal(described.rules[3].when, nil)
    check.equal(described.functions[2].run, second)
    check.equal(described.gauges[1].gauge, "depth")
end)

check.test("misspelt and missing fields of a rule", function()
    check.equal(said(rule { abve = 5 }), "unknown key 'abve' (did you mean 'above'?)")
    check.equal(said(rule { above = "90" }),
        "'above' must be a number, or a table of numbers by profile, not a string")
    check.equal(said(rule { above = { default = "x" } }),
        "'above' of 'default' must be a number, not a string")
    check.equal(said({ name = "cpu", watch = current { "cpu_user_pct" } }),
        "'above' is missing (or 'below')")
    check.equal(said({ name = "cpu", above = 5 }), "'watch' is missing (or 'when')")
    check.equal(said({ name = "cpu", watch = absent { "cpu_user_pct" }, above = 5 }),
        "nothing is compared here: no 'above', 'below', 'clear_above' or 'clear_below'")
    check.equal(said(rule { below = 5 }), "either 'above' or 'below', not both")
    check.equal(said(rule { clear_above = 5 }), "'clear_above' goes with 'below'")
    check.equal(said(rule { clear_below = 95 }), "'clear_below' is 95, on the wrong side of 90")
    check.equal(said(rule { for_min = -1 }), "'for_min' must be from 0 to 10000000, not -1")
    check.equal(said(rule { for_min = 1e9 }), "'for_min' must be from 0 to 10000000, not 1e+09")
    check.equal(said(rule { for_min = 0 / 0 }):match "^'for_min' must be from 0 to 10000000" ~= nil,
        true)
    check.equal(said(rule { limit = 0.5 }), "'limit' must be a whole number, not 0.5")
    check.equal(said(rule { no_data = "firing" }),
        "'no_data' must be resolve, keep or fire, not 'firing' (did you mean 'fire'?)")
    check.equal(said(rule { when = function() end }), "either 'watch' or 'when', not both")
    check.equal(said(rule { watch = { "cpu_user_pct" } }),
        "'watch' must be made by md.forecast, md.current, md.absent or md.gauge")
    check.equal(said(rule { watch = 5 }), "'watch' must be a map, not a number")
    check.equal(said(rule { labels = { server = "x" } }),
        "'labels' cannot set 'server', which every alert has")
    check.equal(said(rule { labels = { ["a-b"] = "x" } }),
        "'labels' has the name 'a-b': letters, digits and _ only")
    check.equal(said(rule { annotations = { a = 5 } }),
        "'annotations' of 'a' must be a string, not a number")
end)

check.test("names in texts, and severities", function()
    check.equal(said(rule { summary = "{sever} at {value:.1f}" }),
        "'summary': no alert of this rule has a 'sever' (did you mean 'server'?)")
    check.equal(said(rule { labels = { team = "a" }, summary = "{team} {metric} {{sever}} {limit}",
        description = "{server} {lead_min} {alertname} }" }), "")
    local others = { severities = { "critical", "warning" } }
    check.equal(said(rule { severity = "critcal" }, others),
        "'severity' is none that there is: 'critcal' (did you mean 'critical'?)")
    check.equal(said(rule { severity = "critical" }, others), "")
    check.equal(said(rule {}, others), "")
    check.equal(said(rule { severity = "page" }), "")
end)

check.test("what C refuses is placed where the rule is", function()
    local _, described = describe { rule {}, rule { name = "a: b" } }
    check.equal(described.place "rule a: b: labels: x", "app.lua: rule a: b: labels: x")
    check.equal(described.place "rule 2: name: x", "app.lua: rule a: b: name: x")
    check.equal(described.place "too much", "app.lua: alerts: too much")
end)

check.test("columns, profiles and quantiles that do not exist", function()
    check.equal(said(rule { watch = current { "cpu_usr_pct" } }),
        "'watch' names no column 'cpu_usr_pct' (did you mean 'cpu_user_pct'?)")
    local others = { profiles = { "database" }, quantiles = { 0.1, 0.5 } }
    check.equal(said(rule { above = { databse = 9 } }, others),
        "'above' names no profile 'databse' (did you mean 'database'?)")
    check.equal(said(rule { above = { databse = 9 } }), "")
    local watch = forecast { "cpu_user_pct", quantile = 0.9, within_min = 5 }
    check.equal(said(rule { watch = watch }, others),
        "'watch': no forecast has the quantile 0.9, only 0.1, 0.5")
    check.equal(said(rule { watch = watch }), "")
end)

check.test("names are taken once, and rules are a list", function()
    check.equal(describe { rule {}, rule {} }, "app.lua: rule cpu: 'name' is taken by another rule")
    check.equal((describe { cpu = rule {} }),
        "app.lua: alerts.rules: 'cpu' is no rule: rules are a list")
    check.equal((describe { 5 }):match "^[^\n]*", "app.lua: rule 1 must be a table, not a number")
end)

check.test("the app's own part of alerts", function()
    check.equal(describe({}, { series = "serves" }), "alerts: no series is named 'serves'")
    check.equal(describe({}, { rule = {} }), "alerts: unknown key 'rule' (did you mean 'rules'?)")
    check.equal(describe({}, { keep = { quantiles = { 5 } } }),
        "alerts.keep.quantiles[1]: not between 0 and 1")
    check.equal(describe({}, { forecasts = 5 }),
        "alerts: 'forecasts' must be a function, not a number")
end)

check.finish()
