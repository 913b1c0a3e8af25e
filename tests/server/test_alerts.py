"""Alert rules in a running daemon: they fire and resolve, cross reloads and restarts, and a bad one
costs nobody but itself. Steps are a second long here."""
import datetime
import json
import shutil
import tempfile
import threading
import time
import unittest

from daemon import Daemon, run_cli

APP = """
local md = require "moondial"

local function show(list, why)
    return list and md.json.array(list) or md.fail(why)
end

return md.app {
    name = "alerts",
    series = { hosts = { key = "host", time = "t", labels = { "profile" }, step_s = 1, steps = 60,
        grace_s = 0.1, columns = { { name = "cpu" }, { name = "mem" } } } },
    alerts = {
        series = "hosts", entity = "host", rules = require "rules",
        forecasts = require "forecasts",
        keep = { quantiles = { 0.5 }, within_min = 1 },
    },
    routes = {
        md.post("/feed", function(request)
            return md.series("hosts"):feed(request.body)
        end),
        md.get("/active", function(request)
            return show(md.alerts.active { state = request.query.state or "all" })
        end),
        md.get("/rules", function() return show(md.alerts.rules()) end),
        md.get("/quality", function() return show(md.alerts.quality()) end),
        md.get("/history", function(request)
            return show(md.alerts.history { limit = tonumber(request.query.limit or 100) })
        end),
        md.get("/evaluated", function() return { ms = md.alerts.evaluated_ms() } end),
    },
}
"""
HEAD = 'local md = require "moondial"\n'
HOT = """{ name = "hot", severity = "critical", watch = md.current { "cpu" },
    above = { default = 90, big = 95 }, clear_below = 80, labels = { team = "infra" },
    summary = "{host}: {metric} is {value:.1f}" },"""
NO_FORECASTS = "return function() return nil end\n"


def rules(*texts):
    return HEAD + "return {\n" + "\n".join(texts) + "\n}\n"


class Fleet:
    """A daemon on these rules, and hosts that send what `values` says five times a second."""

    def __init__(self, rules_text, forecasts=NO_FORECASTS, state=None):
        self.values, self.profiles = {}, {}
        self.ended = threading.Event()
        flags = ["--state", state] if state else []
        self.daemon = Daemon({"app.lua": APP, "rules.lua": rules_text,
                              "forecasts.lua": forecasts}, flags)

    def __enter__(self):
        self.begin()
        return self

    def __exit__(self, *unused):
        self.end()
        self.daemon.__exit__()

    def begin(self):
        self.daemon.start()
        self.daemon.wait_ready()
        self.ended.clear()
        self.sender = threading.Thread(target=self.send, daemon=True)
        self.sender.start()

    def end(self):
        self.ended.set()
        self.sender.join(10)

    def send(self):
        connection = self.daemon.connect()
        while not self.ended.wait(0.2):
            now = datetime.datetime.now(datetime.timezone.utc).isoformat()
            records = [{"host": host, "t": now, "profile": self.profiles.get(host, "small")} | sent
                       for host, sent in list(self.values.items()) if sent]
            self.daemon.post("/feed", json.dumps({"records": records}), connection=connection)
        connection.close()

    def get(self, path):
        return self.daemon.get(path).json()

    def active(self):
        """{(rule, host): alert} of all states."""
        return {(alert["rule"], alert["host"]): alert for alert in self.get("/active")}

    def wait(self, wanted, what, seconds=20):
        """The first alerts of which wanted(alerts) is true."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            alerts = self.active()
            if wanted(alerts):
                return alerts
            time.sleep(0.1)
        raise AssertionError(f"{what} never came: {self.active()}, rules {self.get('/rules')}: "
                             + " | ".join(self.daemon.log[-20:]))

    def wait_state(self, rule, host, state):
        return self.wait(lambda alerts: alerts.get((rule, host), {}).get("state") == state,
                         f"{rule} of {host} {state}")[rule, host]

    def ticks(self, count):
        """Waits until rules have been evaluated so many more times."""
        begun = self.get("/evaluated")["ms"]
        limit = time.monotonic() + 20
        while self.get("/evaluated")["ms"] < begun + 1000 * count:
            assert time.monotonic() < limit, "no ticks: " + " | ".join(self.daemon.log[-20:])
            time.sleep(0.1)


class LiveRules(unittest.TestCase):
    def test_fires_and_resolves(self):
        with Fleet(rules(HOT)) as fleet:
            fleet.values = {"a": {"cpu": 97}, "b": {"cpu": 50}, "c": {"cpu": 93},
                            "d": {"mem": 99}}
            fleet.profiles = {"c": "big"}
            alert = fleet.wait_state("hot", "a", "firing")
            self.assertEqual(alert["annotations"], {"summary": "a: cpu is 97.0"})
            self.assertEqual(alert["labels"], {
                "alertname": "hot", "host": "a", "metric": "cpu", "profile": "small",
                "severity": "critical", "team": "infra"})
            self.assertEqual((alert["value"], alert["limit"]), (97, 90))
            self.assertEqual(set(fleet.active()), {("hot", "a")})
            metrics = fleet.daemon.get("/metrics").body.decode()
            self.assertIn('alertname="hot"', metrics)
            self.assertIn('alertstate="firing"', metrics)
            self.assertIn("moondial_alert_evaluation_seconds_count", metrics)
            shown = fleet.daemon.get("/metrics", headers={"Accept": "application/json"}).json()
            self.assertEqual(shown["ALERTS"]["series"][0]["labels"]["host"], "a")
            fleet.values["a"] = {"cpu": 85}
            fleet.ticks(3)
            self.assertEqual(fleet.active()["hot", "a"]["state"], "firing", "hysteresis")
            fleet.values["a"] = {"cpu": 70}
            resolved = fleet.wait_state("hot", "a", "resolved")
            self.assertGreater(resolved["resolved_ms"], resolved["fired_ms"])
            [health] = fleet.get("/rules")
            self.assertEqual((health["name"], health["health"], health["firing"]),
                             ("hot", "ok", 0))
            self.assertEqual(health["above"], {"default": 90, "big": 95})
            self.assertNotIn("ALERTS{", fleet.daemon.get("/metrics").body.decode())

    def test_pending_for_a_while(self):
        held = HOT.replace("labels", "for_min = 3 / 60, keep_firing_min = 3 / 60, labels")
        with Fleet(rules(held)) as fleet:
            fleet.values = {"a": {"cpu": 97}}
            pending = fleet.wait_state("hot", "a", "pending")
            self.assertNotIn("fired_ms", pending)
            firing = fleet.wait_state("hot", "a", "firing")
            self.assertEqual(firing["active_ms"], pending["active_ms"])
            self.assertGreaterEqual(firing["fired_ms"] - firing["active_ms"], 3000)
            fleet.values["a"] = {"cpu": 1}
            kept = fleet.wait(lambda alerts: "keep_since_ms" in alerts["hot", "a"], "kept")
            self.assertEqual(kept["hot", "a"]["state"], "firing")
            fleet.wait_state("hot", "a", "resolved")

    def test_absent_and_gauges(self):
        text = rules(
            '{ name = "silent", watch = md.absent { "cpu" }, for_min = 2 / 60 },',
            '{ name = "busy", watch = md.gauge { "moondial_job_runs_total", '
            'labels = { job = "tick" } }, above = 0.1 },')
        with Fleet(text) as fleet:
            fleet.values = {"a": {"cpu": 1}, "b": {"cpu": 1}}
            fleet.ticks(2)
            fleet.values["a"] = {"mem": 1}
            fleet.wait_state("silent", "a", "firing")
            busy = fleet.wait_state("busy", "", "firing")
            self.assertAlmostEqual(busy["value"], 1, delta=0.6)
            self.assertNotIn(("silent", "b"), fleet.active())

    def test_forecasts(self):
        forecasts = HEAD + """return function(tick)
            assert(tick.wants("cpu", 0.5) == 1 and not tick.wants("cpu", 0.9))
            local keys = md.series("hosts"):keys()
            local rows = {}
            for index, key in ipairs(keys) do
                rows[index] = key == "a" and { 10, 60, 95 } or { 1, 2, 3 }
            end
            if #keys == 0 then
                return {}
            end
            return { { column = "cpu", quantile = 0.5, step_s = 1, keys = keys,
                values = md.tensor.from(rows) } }
        end\n"""
        text = rules('{ name = "soon", watch = md.forecast { "cpu", within_min = 1 }, above = 90, '
                     'summary = "in {lead_min} min" },', HOT)
        with Fleet(text, forecasts) as fleet:
            fleet.values = {"a": {"cpu": 50}, "b": {"cpu": 97}}
            soon = fleet.wait_state("soon", "a", "firing")
            self.assertEqual((soon["lead_steps"], soon["value"]), (3, 95))
            fleet.wait_state("hot", "b", "firing")
            self.assertNotIn(("soon", "b"), fleet.active())
            self.assertEqual(fleet.get("/quality")[0]["rule"], "soon")
            fleet.daemon.replace("forecasts.lua",
                                 'return function() return nil, { detail = "no model" } end\n')
            fleet.values["c"] = {"cpu": 99}
            fleet.wait_state("hot", "c", "firing")
            self.assertIn("alerts are evaluated without forecasts: no model",
                          fleet.get("/health")["degraded"])
            fleet.daemon.replace("forecasts.lua",
                                 "return function() return { { column = 5 } } end\n")
            fleet.values["d"] = {"cpu": 99}
            fleet.wait_state("hot", "d", "firing")


class Changes(unittest.TestCase):
    def test_a_reload_keeps_instances(self):
        with Fleet(rules(HOT)) as fleet:
            fleet.values = {"a": {"cpu": 97}}
            before = fleet.wait_state("hot", "a", "firing")
            fleet.daemon.replace("rules.lua", rules(HOT.replace("is {value", "reached {value")))
            after = fleet.wait(lambda alerts: "reached" in str(alerts), "the new text")["hot", "a"]
            for field in ("fingerprint", "active_ms", "fired_ms", "state"):
                self.assertEqual(after[field], before[field], field)

    def test_a_removed_rule_resolves_and_comes_back(self):
        other = HOT.replace('"hot"', '"other"').replace("90", "99")
        with Fleet(rules(HOT, other)) as fleet:
            fleet.values = {"a": {"cpu": 97}}
            before = fleet.wait_state("hot", "a", "firing")
            fleet.daemon.replace("rules.lua", rules(other))
            removed = fleet.wait_state("hot", "a", "resolved")
            self.assertEqual(removed["fingerprint"], before["fingerprint"])
            self.assertEqual([rule["name"] for rule in fleet.get("/rules")], ["other"])
            fleet.daemon.replace("rules.lua", rules(HOT, other))
            again = fleet.wait_state("hot", "a", "firing")
            self.assertEqual(again["fingerprint"], before["fingerprint"])
            self.assertEqual(again["active_ms"], before["active_ms"])
            fleet.daemon.replace("rules.lua", rules(other))
            fleet.wait_state("hot", "a", "resolved")
            fleet.daemon.post("/admin/scripts/rollback", "")
            back = fleet.wait_state("hot", "a", "firing")
            self.assertEqual(back["active_ms"], before["active_ms"])

    def test_mistakes_change_nothing(self):
        with Fleet(rules(HOT)) as fleet:
            fleet.values = {"a": {"cpu": 97}}
            fleet.wait_state("hot", "a", "firing")
            fleet.daemon.replace("rules.lua", rules(HOT.replace("above", "abve")))
            line = fleet.daemon.wait_log("unknown key 'abve'")
            self.assertIn("rules.lua:4: rule hot: unknown key 'abve' (did you mean 'above'?)", line)
            fleet.ticks(2)
            self.assertEqual(fleet.active()["hot", "a"]["state"], "firing")

    def test_a_restart_goes_on(self):
        state = tempfile.mkdtemp(prefix="moondial-alerts-")
        self.addCleanup(shutil.rmtree, state)
        held = HOT.replace("labels", "keep_firing_min = 5, labels")
        with Fleet(rules(held), state=state) as fleet:
            fleet.values = {"a": {"cpu": 97}}
            before = fleet.wait_state("hot", "a", "firing")
            fleet.ticks(1)
            fleet.end()
            fleet.daemon.kill()
            fleet.begin()
            after = fleet.active()["hot", "a"]
            self.assertEqual({field: after[field] for field in
                              ("state", "fingerprint", "active_ms", "fired_ms")},
                             {field: before[field] for field in
                              ("state", "fingerprint", "active_ms", "fired_ms")})
            fleet.ticks(1)
            events = fleet.get("/history")
            self.assertGreaterEqual(len(events), 1)
            self.assertEqual(len(fleet.get("/history?limit=1")), 1)
            self.assertEqual(fleet.get("/history?limit=1")[0], events[-1])


class Functions(unittest.TestCase):
    def test_a_function_says_what_no_table_says(self):
        text = rules("""{ name = "both", when = function(server)
            assert(server.name and server.profile == "small")
            return server.current.cpu > 20 and server.current.mem > 15
        end },
        { name = "shown", when = function(server)
            local cpu = server.current.cpu
            return cpu and cpu > 20 and cpu / 2
        end },""")
        with Fleet(text) as fleet:
            fleet.values = {"a": {"cpu": 30, "mem": 20}, "b": {"cpu": 30, "mem": 1},
                            "c": {"cpu": 30}, "d": {"mem": 90}}
            fleet.wait_state("both", "a", "firing")
            alerts = fleet.active()
            self.assertEqual(set(alerts), {("both", "a"), ("shown", "a"), ("shown", "b"),
                                           ("shown", "c")})
            self.assertEqual(alerts["shown", "a"]["value"], 15)
            self.assertEqual([rule["health"] for rule in fleet.get("/rules")], ["ok", "ok"])

    def test_an_infinity_is_no_value_for_scripts(self):
        with Fleet(rules('{ name = "endless", when = function() return 1 / 0 end },')) as fleet:
            fleet.values = {"a": {"cpu": 5}}
            fleet.wait_state("endless", "a", "firing")
            self.assertNotIn("value", fleet.active()["endless", "a"])

    def test_a_long_text_is_shown_whole(self):
        text = rules('{ name = "told", watch = md.current { "cpu" }, above = 1, '
                     'summary = ("\u00e9"):rep(5000) .. "{host}" },')
        with Fleet(text) as fleet:
            fleet.values = {"a": {"cpu": 5}}
            fleet.wait_state("told", "a", "firing")
            self.assertEqual(fleet.active()["told", "a"]["annotations"],
                             {"summary": "\u00e9" * 5000 + "a"})

    def test_bad_functions_cost_their_rule_only(self):
        text = rules("""{ name = "wrong", when = function(server)
            return server.name.x.y
        end },
        { name = "misspelt", when = function(server) return server.current.cup > 5 end },
        { name = "endless", when = function() while true do end end },
        { name = "waits", when = function() return md.sleep(1) end },
        { name = "hoards", when = function()
            local all = {}
            while true do all[#all + 1] = ("x"):rep(1e6) .. #all end
        end },""", HOT)
        with Fleet(text) as fleet:
            fleet.values = {"a": {"cpu": 97}}
            fleet.wait_state("hot", "a", "firing")
            errors = {rule["name"]: rule.get("error", "") for rule in fleet.get("/rules")}
            self.assertIn("rules.lua:4", errors["wrong"])
            self.assertIn("there is no column 'cup'", errors["misspelt"])
            self.assertIn("time budget", errors["endless"])
            self.assertIn("wait", errors["waits"])
            self.assertRegex(errors["hoards"], "memory|time budget")
            self.assertEqual(errors["hot"], "")
            self.assertIn("alert rule wrong fails", str(fleet.get("/health")["degraded"]))
            fleet.daemon.replace("rules.lua", rules(HOT))
            fleet.wait(lambda _: not fleet.get("/health")["degraded"], "good health")
            self.assertEqual(fleet.active()["hot", "a"]["state"], "firing")

    def test_a_view_is_of_no_use_later(self):
        text = rules("""{ name = "keeps", when = (function()
            local before
            return function(server)
                local was = before and before.cpu
                before = server.current
                return was == 5
            end
        end)() },""")
        with Fleet(text) as fleet:
            fleet.values = {"a": {"cpu": 97}}
            fleet.wait(lambda _: fleet.get("/rules")[0]["health"] == "error", "the error")
            self.assertIn("only while the rule is called", fleet.get("/rules")[0]["error"])


class Checked(unittest.TestCase):
    def check(self, rules_text, app=APP):
        with Daemon({"app.lua": app, "rules.lua": rules_text,
                     "forecasts.lua": NO_FORECASTS}).scratch() as daemon:
            status, out, err = run_cli("check", daemon.folder)
        return status, out + err

    def test_mistakes_are_found_with_their_lines(self):
        status, said = self.check(rules(HOT))
        self.assertEqual(status, 0, said)
        for change, line, text in (
                (('"cpu"', '"cpuu"'), 3, "rule hot: 'watch' names no column 'cpuu' "
                                         "(did you mean 'cpu'?)"),
                (("clear_below = 80", "clear_below = 92"), 4,
                 "rule hot: 'clear_below' is 92, on the wrong side of 90"),
                (('"infra"', r'"a\1b"'), 4, "rule hot: labels: team is no proper text"),
                (("big = 95 }, clear_below = 80", "big = 95 }, clear_below = { big = 96 }"), 4,
                 "rule hot: clear_below: 96 of big is on the wrong side"),
                (("{value:.1f}", "{value:.1q}"), 5, "rule hot: 'summary': "),
                (('{ "cpu" }', '{ "cpu", quantile = 1 }'), 3,
                 "md.current: unknown key 'quantile'")):
            status, said = self.check(rules(HOT.replace(*change)))
            self.assertNotEqual(status, 0, change)
            self.assertIn(f"rules.lua:{line}: {text}", said)

    def test_lines_of_a_list_with_a_name(self):
        text = HEAD + "local list = {\n" + HOT.replace("above", "abov") + "\n}\nreturn list\n"
        self.assertIn("rules.lua:4: rule hot: unknown key 'abov'", self.check(text)[1])

    def test_the_app_is_checked_too(self):
        status, said = self.check(rules(HOT), APP.replace('series = "hosts", entity',
                                                          'series = "host", entity'))
        self.assertNotEqual(status, 0)
        self.assertIn("app.lua:13: alerts: no series is named 'host'", said)
