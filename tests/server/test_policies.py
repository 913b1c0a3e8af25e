"""Policy tests: `moondial test`, and fast cases at a reload."""
import json
import os
import unittest

from daemon import Daemon, run_cli

APP = """
local md = require "moondial"
local policy = require "policy"

local function count()
    local values, ticks = {}, md.dict("seen"):get "ticks" or 0
    local servers = md.series "servers"
    local latest = servers:latest { keys = servers:keys(), columns = { "load" } }
    for index, key in ipairs(servers:keys()) do
        values[key] = latest:get(index, 1)
    end
    return { servers = servers:count(), ticks = ticks, latest = values, now_ms = md.now_ms(),
        closed_ms = md.dict("seen"):get "closed_ms", polls = md.dict("seen"):get "polls" or 0,
        started = md.dict("seen"):get "started", profile = servers:label("a1", "profile") }
end

return md.app {
    name = "probe",
    series = { servers = { key = "name", time = "at", labels = { "profile" }, step_s = 300,
        steps = 100, grace_s = 10,
        columns = { { name = "load" }, { name = "state", kind = "last", values = { "up", "down" } },
        } } },
    on_start = function() md.dict("seen"):set("started", md.time.iso(md.now_ms())) end,
    on_tick = { series = "servers", run = function(tick)
        md.dict("seen"):incr("ticks", 1)
        md.dict("seen"):set("closed_ms", tick.closed_ms)
    end },
    timers = { { name = "poll", every_s = 60, run = function()
        md.dict("seen"):incr("polls", 1)
    end } },
    routes = {
        md.get("/count", count),
        md.get("/limit", function() return { limit = policy.limit } end),
        md.post("/echo/{name}", function(request)
            return 201, { name = request.path.name, q = request.query.q, got = request:json() }
        end),
        md.get("/broken", function() return nothing.at_all end),
    },
}
"""
POLICY = "return { limit = %d, double = function(x) return 2 * x end }\n"
HEAD = 'local test = require "moondial.test"\nlocal policy = require "policy"\n'
FAST = HEAD + """
return {
    test.case { "the limit is sane", fast = true, run = function(t)
        t.ok(policy.limit < 100, "the limit is a percentage")
        t.equal(policy.double(policy.limit), 2 * policy.limit)
    end },
}
"""


def folder(cases, **more):
    """A folder with tests/cases.lua of these cases."""
    files = {"app.lua": APP, "policy.lua": POLICY % 50}
    if cases is not None:
        files["tests/cases.lua"] = HEAD + "return {\n" + cases.lstrip("\n") + "\n}\n"
    files.update({name.replace("__", "/") + ".lua": text for name, text in more.items()})
    return Daemon(files).scratch()


def write(daemon, name, text):
    path = os.path.join(daemon.folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def run_tests(cases, *flags, app=APP, **more):
    with folder(cases, app=app, **more) as scratch:
        status, out, err = run_cli("test", scratch.folder, *flags)
        return status, out.replace(scratch.folder, "DIR"), err.replace(scratch.folder, "DIR")


class Command(unittest.TestCase):
    def test_failures_show_both_values_and_the_line(self):
        status, out, err = run_tests("""
    test.case { "right", fast = true, run = function(t) t.equal(policy.double(2), 4) end },
    test.case { "wrong", fast = true, run = function(t)
        t.near(policy.double(2), 4.05, 0.1)
        t.equal({ a = { 1, "x" } }, { a = { 1, "y" } }, "the list")
    end },
    test.case { "near", fast = true, run = function(t) t.near(policy.limit, 51, 0.5) end },
    test.case { "broken", fast = true, run = function(t) t.ok(policy.none.field) end },
    test.case { "refused", fast = true, run = function(t)
        t.ok(false)
    end },""")
        lines = [line.strip() for line in out.splitlines()]
        self.assertEqual((status, err, lines[-1]), (1, "", "1 passed, 4 failed"))
        self.assertRegex(lines[0], r"^ok +tests/cases.lua: right")
        self.assertIn("DIR/tests/cases.lua:7: the list differs at .a[2]", lines)
        at = lines.index("DIR/tests/cases.lua:7: the list differs at .a[2]")
        self.assertEqual(lines[at + 1:at + 3], ['expected  "y"', 'actual    "x"'])
        self.assertIn("DIR/tests/cases.lua:9", lines)
        self.assertIn("expected  51 within 0.5", lines)
        self.assertIn("actual    50", lines)
        self.assertIn("DIR/tests/cases.lua:10: attempt to index field 'none' (a nil value)", lines)
        self.assertIn("DIR/tests/cases.lua:12", lines)

    def test_a_service_of_its_own_whose_clock_the_case_moves(self):
        cases = """
    test.case { "%s", values = { a1 = { load = "1+1x11 _ 7", state = "up", profile = "db" } },
        start = "2026-03-01T10:00:00Z", run = function(t)
        local begun = t.get "/count"
        t.equal(begun.started, "2026-03-01T10:00:10Z")
        t.equal(begun.ticks, 0)
        t.advance_min(5)
        local body, status = t.get "/count"
        t.equal(status, 200)
        t.equal(body.ticks, 1)
        t.equal(body.closed_ms, begun.now_ms - 10000 + 300000)
        t.equal(body.now_ms, begun.now_ms + 300000)
        t.equal(body.latest, { a1 = 2 })      -- of the step that has begun
        t.equal(body.profile, "db")
        t.advance_min(55)
        t.equal(t.minute, 60)
        body = t.get "/count"
        t.equal({ body.ticks, body.polls, body.servers }, { 12, 60, 1 })
        t.equal(body.latest, { a1 = 12 })
        t.advance_min(7)                       -- to the middle of a step
        t.equal(t.get("/count").ticks, 13)
        t.equal(t.get("/count").latest, { a1 = 7 })
        t.feed { { name = "b2", load = 3 } }
        t.equal(t.get("/count").servers, 2)
    end },"""
        status, out, err = run_tests(cases % "first" + cases % "again, and nothing is left of it")
        self.assertEqual((status, out.splitlines()[-1]), (0, "2 passed, 0 failed"), out + err)

    def test_answers_of_routes(self):
        status, out, err = run_tests("""
    test.case { "routes", run = function(t)
        local body, status = t.post("/echo/x%20y?q=1", { list = { 1, 2 } })
        t.equal(status, 201)
        t.equal(body, { name = "x y", q = "1", got = { list = { 1, 2 } } })
        t.equal(select(2, t.get "/nowhere"), 404)
        t.equal(select(2, t.get "/broken"), 500)
        t.equal(t.get "/limit", { limit = 51 })
    end },""")
        self.assertEqual((status, out.splitlines()[-1]), (1, "0 passed, 1 failed"), out + err)
        self.assertIn("DIR/tests/cases.lua:10: differs at .limit", out)
        self.assertIn("app.lua", err)  # what the broken handler logs

    def test_one_that_does_not_end_is_stopped_and_named(self):
        status, out, err = run_tests("""
    test.case { "endless", fast = true, run = function()
        while true do end
    end },
    test.case { "caught", run = function()
        while true do pcall(function() while true do end end) end
    end },
    test.case { "after them", fast = true, run = function(t) t.equal(1, 1) end },""")
        self.assertEqual((status, out.splitlines()[-1]), (1, "1 passed, 2 failed"), out + err)
        self.assertIn("FAILED  tests/cases.lua: endless", out)
        self.assertRegex(out, r"tests/cases.lua:5: runs longer than its time budget")
        self.assertRegex(out, r"tests/cases.lua:8: runs longer than its time budget")

    def test_only_and_json(self):
        cases = """
    test.case { "one", fast = true, run = function(t) t.equal(1, 1) end },
    test.case { "two", fast = true, run = function(t) t.equal(1, 2) end },"""
        status, out, err = run_tests(cases, "--only", "one")
        self.assertEqual((status, out.splitlines()[-1], err), (0, "1 passed, 0 failed", ""))
        status, out, err = run_tests(cases, "--only", "three")
        self.assertEqual((status, out), (2, ""))
        self.assertIn('none of 2 tests is called like "three"', err)
        status, out, err = run_tests(cases, "--json")
        report = json.loads(out)
        self.assertEqual((status, report["passed"], report["failed"]), (1, 1, 1))
        failed = report["cases"][1]
        self.assertEqual((failed["file"], failed["name"], failed["line"], failed["passed"]),
                         ("tests/cases.lua", "two", 5, False))
        self.assertEqual(failed["failure"], {"file": "tests/cases.lua", "line": 5, "text": "",
                                             "expected": "2", "actual": "1"})

    def test_what_does_not_load_is_bad_input(self):
        fine = 'test.case { "x", run = function() end },'
        for cases, more, problem in (
                (None, {}, "DIR/tests holds no tests"),
                (fine, {"policy": "return {"}, "policy.lua:1: "),
                (fine, {"tests__more": "return { 1 +\n\n"}, "tests/more.lua:3: "),
                (fine, {"tests__more": "return 7"}, "tests/more.lua: return a list of test.case"),
                (fine, {"tests__more": "return { 7 }"}, "tests/more.lua: entry 1 is not made by"),
                ('test.case { "x", rum = 1, run = print }', {},
                 "tests/cases.lua:4: case: unknown key 'rum' (did you mean 'run'?)"),
                ('test.case { run = function() end }', {}, "cases.lua:4: case: 'name' is missing"),
                ('test.case { "x" }', {}, "tests/cases.lua:4: a case has either 'alerts' or 'run'"),
                ('test.case { "x", start = "noon", run = function() end }', {},
                 "tests/cases.lua:4: start: 'noon' is no time"),
        ):
            with self.subTest(problem):
                status, out, err = run_tests(cases, **more)
                self.assertEqual((status, out), (2, ""))
                self.assertIn(problem, err)
        status, _, err = run_cli("test", "/nowhere")
        self.assertEqual(status, 2)
        self.assertIn('"/nowhere" cannot be read', err)

    def test_mistakes_in_a_case_fail_it_and_name_the_place(self):
        status, out, err = run_tests("""
    test.case { "notation", values = { a1 = { load = "1 2 x" } }, run = function() end },
    test.case { "column", values = { a1 = { laod = "1" } }, run = function() end },
    test.case { "state", values = { a1 = { state = "odd" } }, run = function() end },
    test.case { "fast", fast = true, run = function(t)
        t.get "/count"
    end },
    test.case { "back", run = function(t) t.advance_min(-1) end },""")
        self.assertEqual((status, out.splitlines()[-1]), (1, "0 passed, 5 failed"), err)
        for text in ("cases.lua:4: values.a1.load: position 5: 'x' is no value",
                     "cases.lua:5: values.a1.laod: no column of series servers is called that "
                     "(did you mean 'load'?)",
                     "cases.lua:6: values.a1.state: one of up, down",
                     "cases.lua:8: t.get: not in a fast case",
                     "cases.lua:10: advance_min takes a positive number of minutes"):
            self.assertIn(text, out)


RULES_APP = """
local md = require "moondial"
return md.app {
    name = "ruled",
    series = { servers = { key = "name", time = "at", labels = { "profile" }, step_s = 300,
        steps = 100, columns = { { name = "load" }, { name = "free" } } } },
    alerts = { series = "servers", entity = "server", rules = require "alerts",
        profile = function(name) return name:match "^db" and "database" or "other" end },
}
"""
RULES = """
local md = require "moondial"
return {
    { name = "load_high", severity = "critical", watch = md.current { "load" },
        above = { default = 90, database = 95 }, clear_below = 80, for_min = 5,
        keep_firing_min = 10, labels = { team = "infra" }, summary = "{server} is at {value:.0f}" },
    { name = "load_soon", watch = md.forecast { "load", quantile = 0.9, within_min = 30 },
        above = 90 },
    { name = "silent", watch = md.absent { "load" } },
    { name = "queue", watch = md.gauge { "moondial_queue_depth", labels = { model = "tft" } },
        above = 50 },
    { name = "odd", when = function(server)
        return server.current.load > 10 and server.current.free < 5
    end },
}
"""


def run_rules(cases, *flags, rules=RULES):
    return run_tests(cases, *flags, app=RULES_APP, alerts=rules)


class Rules(unittest.TestCase):
    """Cases that say which alerts there are, minute by minute."""

    def passes(self, cases, **more):
        status, out, err = run_rules(cases, **more)
        self.assertEqual((status, err), (0, ""), out + err)

    def test_the_state_machine_by_the_minute(self):
        self.passes("""
    test.case { "pending, firing, kept, gone", fast = true, rules = "load_high",
        values = { web1 = { load = "50 95x1 85 70x5", profile = "x" }, db1 = { load = "94x20" } },
        alerts = {
            [5] = {},
            [10] = { { "load_high", server = "web1", state = "pending", value = 95, limit = 90 } },
            [15] = { { "load_high", server = "web1", team = "infra", severity = "critical",
                metric = "load", profile = "x", summary = "web1 is at 95" } },
            [20] = { { "load_high", server = "web1" } },
            [25] = { { "load_high", server = "web1" } },
            [30] = { { "load_high", server = "web1" } },
            [35] = {},
        } },
    test.case { "limits by profile, of the case or of the app", fast = true, rules = "load_high",
        values = { db1 = { load = "94x3" }, db2 = { load = "94x3", profile = "other" },
            web1 = { load = "94x3" }, web2 = { load = { 94, "_", 94 }, profile = "database" } },
        alerts = { [10] = { { "load_high", server = "db2" }, { "load_high", server = "web1" } } } },
    """)

    def test_forecasts_by_quantile_minute_and_function(self):
        self.passes("""
    test.case { "the first step that crosses", fast = true, rules = "load_soon",
        forecasts = { a = { load = { p90 = "88+1x9", p50 = "99x9" } },
            b = { load = { p90 = "50x9" } } },
        alerts = { [5] = { { "load_soon", server = "a", value = 90, lead_min = 15 } } } },
    test.case { "beyond the horizon", fast = true, rules = "load_soon",
        forecasts = { a = { load = { p90 = "50x5 99x9" } } }, alerts = { [5] = {} } },
    test.case { "by minute, with an end", fast = true, rules = "load_soon",
        forecasts = { a = { load = { p90 = { [10] = { 91, 92 }, [20] = "_ 93", [25] = false } } } },
        alerts = { [5] = {}, [10] = { { "load_soon", server = "a", lead_min = 5 } },
            [20] = { { "load_soon", server = "a", lead_min = 10 } }, [25] = {} } },
    test.case { "a function of the minute", fast = true, rules = "load_soon",
        forecasts = { a = { load = { p90 = function(minute)
            return minute >= 15 and "95x3" or nil
        end } } },
        alerts = { [10] = {}, [15] = { { "load_soon", server = "a" } } } },
    """)

    def test_absence_gauges_and_functions(self):
        self.passes("""
    test.case { "absent, stale", fast = true, rules = "silent",
        values = { a = { load = "1 _x2 1" }, b = { load = "1 stale" }, c = { free = "1x9" } },
        alerts = { [5] = {}, [10] = { { "silent", server = "a" } },
            [15] = { { "silent", server = "a" } }, [20] = {} } },
    test.case { "gauges", fast = true, rules = "queue",
        gauges = { ['moondial_queue_depth{model="tft"}'] = "0 60 _" },
        alerts = { [5] = {}, [10] = { { "queue", value = 60 } }, [15] = {} } },
    test.case { "functions", fast = true, rules = "odd",
        values = { a = { load = "20x3", free = "9 4 _" }, b = { load = "5x3", free = "1x3" } },
        alerts = { [5] = {}, [10] = { { "odd", server = "a" } }, [15] = {} } },
    """)

    def test_a_failure_shows_what_there_was(self):
        status, out, err = run_rules("""
    test.case { "none expected", fast = true,
        values = { web1 = { load = "95x9" } },
        alerts = {
            [5] = { { "load_high", server = "web1", state = "pending" } },
            [10] = {},
        } },
    test.case { "another expected", fast = true, values = { web1 = { load = "95x9" } },
        alerts = { [10] = { { "load_high", server = "web2", severity = "critical" } } } },
    test.case { "one too few", fast = true, values = { web1 = { load = "95x9" } },
        alerts = { [10] = {
            { "load_high", server = "web1" }, { "load_high", server = "web1" } } } },""")
        lines = [line.strip() for line in out.splitlines()]
        self.assertEqual((status, err, lines[-1]), (1, "", "0 passed, 3 failed"))
        at = lines.index("DIR/tests/cases.lua:8: minute 10")
        self.assertEqual(lines[at + 1:at + 3],
                         ["expected  no alerts",
                          "actual    load_high server=web1 metric=load state=firing"])
        at = lines.index("DIR/tests/cases.lua:11: minute 10")
        self.assertEqual(lines[at + 1:at + 3],
                         ["expected  load_high server=web2 state=firing severity=critical",
                          "actual    load_high server=web1 metric=load state=firing "
                          "severity=critical"])
        self.assertIn("DIR/tests/cases.lua:13: minute 10", lines)

    def test_mistakes_name_their_place(self):
        for case, problem in (
                ('alerts = { [7] = {} }', "alerts: [7] is no minute at which a step closes: 5, 10"),
                ('alerts = { [0] = {} }', "alerts: [0] is no minute"),
                ('alerts = { [5] = { { "laod_high" } } }',
                 "alerts[5]: alert 1: no rule is named 'laod_high' (did you mean 'load_high'?)"),
                ('alerts = { [5] = { { "load_high", sever = "a" } } }',
                 "alerts[5]: alert 1: 'sever' is no field or label of it"),
                ('alerts = { [5] = { "load_high" } }', 'alerts[5]: alert 1: { "rule"'),
                ('rules = "none", alerts = { [5] = {} }', "rules: no rule is named 'none'"),
                ('values = { a = { load = "1+x" } }, alerts = { [5] = {} }',
                 "values.a.load: position 1: '1+x' is no value"),
                ('forecasts = { a = { load = { p50 = "1 x" } } }, alerts = { [5] = {} }',
                 "forecasts.a.load: position 3: 'x' is no value"),
                ('forecasts = { a = { load = { high = "1" } } }, alerts = { [5] = {} }',
                 "forecasts.a.load: a quantile is p50, p90 and so on, not 'high'"),
                ('forecasts = { a = { lod = { p50 = "1" } } }, alerts = { [5] = {} }',
                 "forecasts.a.lod: no column of series servers is called that"),
                ('gauges = { x = "1 y" }, alerts = { [5] = {} }', 'gauges["x"]: position 3'),
        ):
            with self.subTest(problem):
                status, out, _ = run_rules('test.case { "x", fast = true, %s },' % case)
                self.assertEqual(status, 1)
                self.assertIn("DIR/tests/cases.lua:4: " + problem, out)

    def test_a_rule_that_fails_fails_its_case(self):
        rules = RULES.replace("server.current.load > 10", "server.nothing.load > 10")
        status, out, _ = run_rules("""
    test.case { "x", fast = true, values = { a = { load = "1" } }, alerts = { [5] = {} } },""",
                                   rules=rules)
        self.assertEqual(status, 1)
        self.assertRegex(out, r"cases.lua:4: .*rule odd: alerts.lua:\d+: attempt to index")

    def test_alerts_of_a_service(self):
        rules = RULES[:RULES.index('    { name = "load_soon"')] + "}"
        self.passes("""
    test.case { "live", values = { web1 = { load = "50 95x9" } }, run = function(t)
        t.advance_min(5)
        t.alerts {}
        t.advance_min(10)
        t.alerts { { "load_high", server = "web1", summary = "web1 is at 95" } }
    end },
    """, rules=rules)

    def test_forecasts_that_are_given_to_a_service(self):
        rules = RULES[:RULES.index('    { name = "silent"')] + "}"
        self.passes("""
    test.case { "given", values = { web1 = { load = "50x9" } },
        forecasts = { web1 = { load = { p90 = { [10] = "81+5x4" } } } }, run = function(t)
            t.advance_min(5)
            t.alerts {}
            t.advance_min(5)
            t.alerts { { "load_soon", server = "web1", value = 91, lead_min = 15 } }
        end },
    """, rules=rules)

    def test_a_fast_case_stands_between_a_rule_and_its_going_live(self):
        tests = HEAD.replace('local policy = require "policy"\n', "") + """
return { test.case { "web servers may work", fast = true, rules = "load_high",
    values = { web1 = { load = "91x3" } },
    alerts = { [10] = { { "load_high", server = "web1" } } } } }
"""
        files = {"app.lua": RULES_APP, "alerts.lua": RULES, "tests/rules.lua": tests}
        with Daemon(files, ("--no-watch",)) as daemon:
            daemon.wait_ready()
            self.assertEqual(daemon.post("/admin/scripts/reload", "").status, 200)
            write(daemon, "alerts.lua", RULES.replace("default = 90", "default = 92"))
            answer = daemon.post("/admin/scripts/reload", "")
            self.assertEqual(answer.status, 500)
            self.assertEqual(answer.json()["detail"],
                             'tests/rules.lua:5: test "web servers may work" failed: minute 10: '
                             'expected load_high server=web1 state=firing, got no alerts')


class Reload(unittest.TestCase):
    """Fast cases stand between an edit and the scripts that serve."""

    def test_a_failing_fast_case_keeps_what_serves(self):
        files = {"app.lua": APP, "policy.lua": POLICY % 50, "tests/limits.lua": FAST}
        with Daemon(files, ("--no-watch",)) as daemon:
            daemon.wait_ready()
            write(daemon, "policy.lua", POLICY % 150)
            answer = daemon.post("/admin/scripts/reload", "")
            self.assertEqual(answer.status, 500, answer.body)
            problem = 'tests/limits.lua:6: test "the limit is sane" failed: ' \
                'the limit is a percentage: expected neither nil nor false, got false'
            self.assertEqual(answer.json()["detail"], problem)
            self.assertEqual(daemon.get("/limit").json(), {"limit": 50})
            self.assertIn("generation 1 goes on: tests/limits.lua:6: ",
                          daemon.get("/health").json()["degraded"][0])
            write(daemon, "policy.lua", POLICY % 60)
            self.assertEqual(daemon.post("/admin/scripts/reload", "").json()["changed"],
                             ["policy.lua"])
            self.assertEqual(daemon.get("/limit").json(), {"limit": 60})
            self.assertEqual(daemon.get("/health").json()["degraded"], [])

    def test_saving_a_test_runs_it(self):
        files = {"app.lua": APP, "policy.lua": POLICY % 50, "tests/limits.lua": FAST}
        with Daemon(files) as daemon:
            daemon.wait_ready()
            write(daemon, "tests/limits.lua", FAST.replace("< 100", "< 10"))
            daemon.wait_log('reload refused (generation 1 goes on): tests/limits.lua:6: test "the')
            write(daemon, "tests/limits.lua", FAST)
            write(daemon, "policy.lua", POLICY % 51)
            daemon.wait_log("generation 2 serves")
            self.assertEqual(daemon.get("/limit").json(), {"limit": 51})

    def test_one_that_does_not_end_is_stopped_and_named(self):
        endless = FAST.replace("t.ok(", "while true do end t.ok(")
        with Daemon({"app.lua": APP, "policy.lua": POLICY % 50}, ("--no-watch",)) as daemon:
            daemon.wait_ready()
            write(daemon, "tests/limits.lua", endless)
            answer = daemon.post("/admin/scripts/reload", "")
            self.assertEqual(answer.status, 500)
            self.assertRegex(answer.json()["detail"], r'^tests/limits.lua:\d+: test '
                             r'"the limit is sane": tests/limits.lua:6: runs longer')
            many = FAST.replace("return {\n", 'local function slow(t)\n'
                                '    local sum = 0\n    for i = 1, 1e5 do sum = sum + i % 7 end\n'
                                '    t.ok(sum > 0)\nend\nreturn {\n'
                                + '    test.case { "slow", fast = true, run = slow },\n' * 2000)
            write(daemon, "tests/limits.lua", many)
            write(daemon, "policy.lua", POLICY % 60)
            self.assertEqual(daemon.post("/admin/scripts/reload", "").status, 200)
            daemon.wait_log('fast tests take more than 50 ms: "slow" and those behind it were not')
            self.assertEqual(daemon.get("/limit").json(), {"limit": 60})

    def test_a_rollback_asks_no_tests(self):
        files = {"app.lua": APP, "policy.lua": POLICY % 50, "tests/limits.lua": FAST}
        with Daemon(files, ("--no-watch",)) as daemon:
            daemon.wait_ready()
            write(daemon, "tests/limits.lua", FAST.replace("< 100", "> 50"))
            write(daemon, "policy.lua", POLICY % 60)
            self.assertEqual(daemon.post("/admin/scripts/reload", "").status, 200)
            self.assertEqual(daemon.post("/admin/scripts/rollback", "").status, 200)
            self.assertEqual(daemon.get("/limit").json(), {"limit": 50})


if __name__ == "__main__":
    unittest.main()
