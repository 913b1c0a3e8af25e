"""Rehearsals: what a folder's alert rules would have done over the kept past.

The daemons here stand still in time until the test moves them on, a minute a step, so that a night
of hours takes seconds and every alert has a time that the test can name.
"""
import json
import os
import shutil
import tempfile
import threading
import unittest

from daemon import Daemon, run_cli
from test_control import Peer

MINUTE = 60000
ORIGIN = 1767225600000  # 2026-01-01T00:00:00Z
HOSTS = ("a", "b", "c")

APP = """
local md = require "moondial"
return md.app {
    name = "night",
    series = { hosts = { key = "host", time = "t", labels = { "profile" }, step_s = 60,
        steps = 120, grace_s = 1, late_max_min = 30,
        columns = { { name = "cpu" }, { name = "mem" } } } },
    alerts = { series = "hosts", entity = "host", rules = require "rules",
        forecasts = require "forecasts" },
    routes = {
        md.post("/feed", function(request)
            return md.series("hosts"):feed(request.body)
        end),
        md.get("/history", function()
            local events, why = md.alerts.history { limit = 10000 }
            return events and md.json.array(events) or md.fail(why)
        end),
    },
}
"""
RULES = """
local md = require "moondial"
return {
    { name = "hot", severity = "critical", watch = md.current { "cpu" }, above = %(hot)d,
      clear_below = 60, for_min = 2, keep_firing_min = 3 },
    { name = "full", severity = "warning", watch = md.current { "cpu", "mem" }, above = 85 },
    { name = "silent", severity = "warning", watch = md.absent { "cpu" }, for_min = 5 },
    { name = "soon", severity = "warning", above = 88,
      watch = md.forecast { "cpu", quantile = 0.5, within_min = 10 } },
    { name = "both", severity = "warning", when = function(server)
        local cpu, mem = server.current.cpu, server.current.mem
        return cpu ~= nil and mem ~= nil and cpu + mem > 150
    end },
}
"""
# The wave of value_of for the next ten minutes, without its noise: some crossings are foreseen.
FORECASTS = """
local md = require "moondial"
return function(tick)
    local keys = md.series("hosts"):keys()
    local rows = {}
    for index, key in ipairs(keys) do
        local row = {}
        for step = 1, 10 do
            local minute = (tick.closed_ms - 1767225600000) / 60000 - 1 + step
            row[step] = math.abs((minute + 13 * key:byte()) % 60 - 30) * 2 + 31.7
        end
        rows[index] = row
    end
    if #keys == 0 then
        return {}
    end
    return { { column = "cpu", quantile = 0.5, step_s = 60, keys = keys,
        values = md.tensor.from(rows) } }
end
"""


def value_of(minute, host, column):
    """Between 0 and 100, the same in every run: waves of different lengths, and some noise."""
    seed = (minute // 7 * 31 + ord(host) * 17 + len(column)) * 2654435761 % 2 ** 32
    wave = abs((minute + 13 * ord(host)) % 60 - 30) * 2
    return min(100, wave + seed % 41 + (5 if column == "mem" else 0))


class Night:
    """A daemon whose minutes this moves on; it can end and begin again at any of them."""

    def __init__(self, hot=80):
        self.state = tempfile.mkdtemp(prefix="moondial-rehearse-")
        self.folder = tempfile.mkdtemp(prefix="moondial-rehearse-")
        self.socket = os.path.join(self.state, "control.sock")
        self.minute = 0
        self.daemon = self.peer = None
        self.write("app.lua", APP)
        self.write("rules.lua", RULES % {"hot": hot})
        self.write("forecasts.lua", FORECASTS)

    def __enter__(self):
        self.begin()
        return self

    def __exit__(self, *_):
        self.end()
        shutil.rmtree(self.state)
        shutil.rmtree(self.folder)

    def write(self, name, text, folder=None):
        with open(os.path.join(folder or self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def now(self):
        return ORIGIN + self.minute * MINUTE + 2000

    def begin(self):
        self.daemon = Daemon({}, ["--state", self.state, "--clock-speed", "0", "--clock-origin-ms",
                                  str(self.now()), "--no-watch"], folder=self.folder)
        self.daemon.start()
        self.daemon.wait_ready()
        self.peer = Peer(self.socket, seconds=60)

    def end(self, kill=False):
        if self.daemon is not None:
            self.peer.__exit__()
            if kill:
                self.daemon.kill()
            else:
                status = self.daemon.stop()
                assert status == 0, (status, self.daemon.log[-40:])
            self.daemon = None

    def feed(self, minute, hosts=HOSTS, columns=("cpu", "mem"), value=None):
        records = [{"host": host, "profile": "small", "t": ORIGIN / 1000 + minute * 60 + 30}
                   | {column: value if value is not None else value_of(minute, host, column)
                      for column in columns} for host in hosts]
        answer = self.daemon.post("/feed", json.dumps({"records": records}))
        assert answer.status == 200, answer.body

    def tick(self):
        self.minute += 1
        answer = self.peer.ask(op="clock", now_ms=self.now())
        assert answer["ok"], answer

    def play(self, minutes, hosts=HOSTS):
        for _ in range(minutes):
            self.feed(self.minute, hosts)
            self.tick()

    def ask(self, **request):
        return self.peer.ask(op="rehearse", **request)

    def post(self, body):
        return self.daemon.post("/admin/rehearse", body)

    def rules_of(self, report):
        return {rule["rule"]: rule for rule in report["rules"]}

    def history(self):
        return self.daemon.get("/history").json()


def counts(report):
    totals = report["totals"]
    return {name: totals[name] for name in ("same", "changed", "added", "gone")}


def spans_of(report, side):
    """{(rule, host, metric, fired, ended)}: what a side of a report says that fired."""
    return {(rule["rule"], difference["key"], difference["metric"], span["fired_ms"],
             span["end_ms"])
            for rule in report["rules"] for difference in rule["differences"]
            for span in difference[side]}


def spans_of_events(events):
    """The same from the recorded events."""
    spans, fired = set(), {}
    for event in sorted(events, key=lambda event: event["time_ms"]):
        if event.get("kind", "alert") != "alert":
            continue
        subject = (event["rule"], event["host"], event["metric"])
        if event["to"] == "firing":
            fired[subject] = event["time_ms"]
        elif event["from"] == "firing":
            spans.add(subject + (fired.pop(subject), event["time_ms"]))
    return spans | {subject + (time, None) for subject, time in fired.items()}


class TheNight(unittest.TestCase):
    """Rehearsing the rules that were live gives exactly the alerts that were live."""

    @classmethod
    def setUpClass(cls):
        cls.night = night = Night()
        night.begin()
        night.play(40)
        for minute in (30, 33, 38):  # late data reopen steps that were evaluated
            night.feed(minute, ("a", "b"), value=99)
        night.play(10)
        night.end()  # a restart without a gap
        night.begin()
        night.play(20, ("a", "c"))  # b falls silent
        night.write("app.lua", APP + "-- edited\n")
        assert night.daemon.post("/admin/scripts/reload", "").status == 200
        night.play(20)
        night.end(kill=True)
        night.minute += 17  # an outage
        night.begin()
        night.play(25)
        night.end()
        night.minute += 75  # a long one: what was pending begins anew
        night.begin()
        for minute in range(night.minute - 20, night.minute):
            night.feed(minute, ("a",), value=95)  # an agent that sends what it had kept
        night.play(30)
        assert night.daemon.post("/admin/scripts/reload", "").status == 200
        night.play(10)
        cls.events = night.history()

    @classmethod
    def tearDownClass(cls):
        cls.night.__exit__()

    def test_the_night_was_noisy(self):
        rules = {span[0] for span in spans_of_events(self.events)}
        self.assertEqual(rules, {"hot", "full", "silent", "soon", "both"})
        self.assertGreater(len(spans_of_events(self.events)), 30)

    def test_against_what_was_recorded_all_is_the_same(self):
        report = self.night.ask(against="recorded", since="10h", same=True)
        self.assertTrue(report["ok"], report)
        self.assertEqual(counts(report) | {"same": 0}, dict.fromkeys(counts(report), 0), report)
        self.assertEqual(report["totals"]["new"], report["totals"]["old"])
        self.assertEqual(spans_of(report, "new"), spans_of_events(self.events))
        self.assertEqual(spans_of(report, "old"), spans_of_events(self.events))
        self.assertIn("the same as before", report["summary"])

    def test_a_part_of_it_too(self):
        for since, until in (("2026-01-01T02:30:00Z", None), ("2026-01-01T00:45:00Z",
                                                              "2026-01-01T01:20:00Z")):
            report = self.night.ask(against="recorded", since=since, same=True,
                                    **({"until": until} if until else {}))
            self.assertTrue(report["ok"], report)
            self.assertEqual(counts(report) | {"same": 0}, dict.fromkeys(counts(report), 0),
                             (since, report["rules"]))
            self.assertGreater(report["totals"]["same"], 2)

    def test_against_the_live_rules_all_is_the_same(self):
        report = self.night.ask(since="10h")
        self.assertEqual(counts(report)["same"], len(spans_of_events(self.events)))
        self.assertEqual(counts(report) | {"same": 0}, dict.fromkeys(counts(report), 0))

    def test_grades_are_those_that_were_given(self):
        given = {}
        for event in self.events:
            if event["kind"] == "grade":
                given[event["outcome"]] = given.get(event["outcome"], 0) + 1
        grades = self.night.rules_of(self.night.ask(since="10h"))["soon"]["new"]["grades"]
        self.assertEqual({name: grades[name] for name in given}, given)
        self.assertEqual(sum(grades[name] for name in ("hit", "early", "late", "false", "missed",
                                                       "ungraded")), sum(given.values()))
        self.assertGreater(grades["caught"], 0)
        self.assertGreater(sum(given.values()), 5, given)

    def test_outages_are_told(self):
        report = self.night.ask(since="2026-01-01T00:00:00Z")
        self.assertEqual(report["gap_ms"], (17 + 75) * MINUTE)
        self.assertIn("0", report["known"])
        self.assertIsNone(report["partial"])

    def test_other_rules_differ_just_where_they_do(self):
        rules = RULES % {"hot": 101} + "-- and nothing else"
        report = self.night.ask(since="10h", scripts={"rules.lua": rules})
        by_name = self.night.rules_of(report)
        self.assertEqual(by_name["hot"]["new"]["alerts"], 0)
        self.assertEqual(by_name["hot"]["gone"], by_name["hot"]["old"]["alerts"])
        self.assertEqual(by_name["full"]["same"], by_name["full"]["old"]["alerts"])
        self.assertIn("instead of", report["summary"])

    def test_functions_are_rehearsed(self):
        self.assertGreater(self.night.rules_of(self.night.ask(since="10h"))["both"]["same"], 0)
        rules = (RULES % {"hot": 80}).replace("> 150", "> 1000")
        report = self.night.ask(since="10h", scripts={"rules.lua": rules}, rule="both")
        self.assertEqual([rule["rule"] for rule in report["rules"]], ["both"])
        self.assertEqual(report["rules"][0]["new"]["alerts"], 0)
        self.assertGreater(report["rules"][0]["gone"], 0)

    def test_a_function_that_fails_is_told(self):
        rules = (RULES % {"hot": 80}).replace("cpu + mem > 150", "cpu + mem > cpu.such.limit")
        report = self.night.ask(since="2h", scripts={"rules.lua": rules})
        both = self.night.rules_of(report)["both"]["new"]
        self.assertGreater(both["errors"], 0)
        self.assertIn("rules.lua:", both["error"])
        self.assertIn("1 rule failed", report["summary"])

    def test_what_was_not_kept_is_told(self):
        rules = """
local md = require "moondial"
return {
    { name = "soon", watch = md.forecast { "cpu", quantile = 0.9, within_min = 60 }, above = 5 },
    { name = "disk", watch = md.current { "cpu" }, above = 101 },
}
"""
        report = self.night.ask(since="2h", scripts={"rules.lua": rules})
        by_name = self.night.rules_of(report)
        lack = by_name["soon"]["new"]["lacks"][0]
        self.assertEqual((lack["name"], lack["absent"]), ("cpu", report["frames"]))
        self.assertEqual(by_name["disk"]["new"]["lacks"], [])
        self.assertIn("1 rule watches what the history does not always have", report["summary"])

    def test_over_http(self):
        answer = self.night.post(json.dumps({"since": "10h"}))
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.json()["totals"]["same"], len(spans_of_events(self.events)))
        self.assertEqual(self.night.post("").status, 200)
        wrong = {"nonsense": 400, "[]": 400, '{"sinze":"2h"}': 400, '{"since":"2 moons"}': 400,
                 '{"since":"2h","bins":0}': 400, '{"budget_s":61}': 400,
                 '{"since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}': 400,
                 '{"path":"../.."}': 400, '{"path":"none"}': 404, '{"rule":"none"}': 404,
                 '{"scripts":{"rules.lua":7}}': 400, '{"scripts":{"rule.lua":"return 5"}}': 400,
                 '{"scripts":{"../../../../etc/passwd":""}}': 400,
                 '{"scripts":{"rules.lua":"return {"}}': 500}
        for body, status in wrong.items():
            answer = self.night.post(body)
            self.assertEqual(answer.status, status, (body, answer.body))
        self.assertIn(b"rules.lua:1", answer.body)
        self.assertEqual(self.night.post(b" " * (1 << 21)).status, 413)

    def test_nothing_is_served_meanwhile(self):
        before = self.night.daemon.get("/admin/scripts").json()["generation"]
        events = len(self.night.history())
        self.night.ask(since="10h", scripts={"rules.lua": RULES % {"hot": 5}})
        self.assertEqual(self.night.daemon.get("/admin/scripts").json()["generation"], before)
        self.assertEqual(len(self.night.history()), events)

    def test_two_at_once_are_bounded(self):
        codes = []

        def ask():
            with Peer(self.night.socket, seconds=60) as peer:
                codes.append(peer.ask(op="rehearse", since="10h", plots=True).get("code", "OK"))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertIn("OK", codes)
        self.assertEqual(set(codes) - {"OK", "UNAVAILABLE"}, set())
        self.assertTrue(self.night.ask(since="1h")["ok"])

    def test_the_command(self):
        new = tempfile.mkdtemp(prefix="moondial-rehearse-")
        try:
            self.night.write("app.lua", APP, new)
            self.night.write("forecasts.lua", FORECASTS, new)
            self.night.write("rules.lua", RULES % {"hot": 90}, new)
            page = os.path.join(new, "page.html")
            code, out, err = run_cli("rehearse", new, "--since", "10h", "--state",
                                     self.night.state, "--html", page)
            self.assertEqual((code, err), (0, ""))
            self.assertIn("\nhot (critical)  new: ", out)
            self.assertIn("the rules that serve, generation", out)
            self.assertRegex(out, r"\n  new  \|[.0-9 ]+\|\n  old  \|[.0-9 ]+\|\n  +\d+ ")
            self.assertRegex(out, r"\n  (gone|changed)  +[abc] cpu  ")
            self.assertRegex(out, r"\n\d+ alerts instead of \d+: .*\.\n$")
            with open(page, encoding="utf-8") as file:
                html = file.read()
            self.assertIn("<svg", html)
            self.assertIn("<path", html)
            self.assertNotIn("http", html.replace("http-equiv", ""))
            code, out, err = run_cli("rehearse", new, "--since", "10h", "--control",
                                     self.night.socket, "--rule", "hot", "--json")
            self.assertEqual((code, err), (0, ""))
            self.assertEqual([rule["rule"] for rule in json.loads(out)["rules"]], ["hot"])
            self.night.write("rules.lua", "return {\n  { name = 7 },\n}\n", new)
            code, out, err = run_cli("rehearse", new, "--control", self.night.socket)
            self.assertEqual((code, out), (2, ""))
            self.assertIn("rules.lua:2", err)
        finally:
            shutil.rmtree(new)


class LongAlerts(unittest.TestCase):
    """What has been firing for longer than any rule's times is known from what was recorded."""

    RULES = """
local md = require "moondial"
return { { name = "kept", watch = md.current { "cpu" }, above = 80, no_data = "keep" } }
"""

    def test_what_began_long_before(self):
        with Night() as night:
            night.write("rules.lua", self.RULES)
            self.assertEqual(night.daemon.post("/admin/scripts/reload", "").status, 200)
            night.feed(0, ("a",), value=95)
            for minute in range(75):
                night.feed(minute, ("b",), value=10)
                night.tick()
            for against in ("recorded", "live"):
                report = night.ask(against=against, since="5m", same=True)
                self.assertEqual(counts(report), {"same": 1, "changed": 0, "added": 0, "gone": 0},
                                 report)
                span = report["rules"][0]["differences"][0]["new"][0]
                self.assertEqual((span["fired_ms"], span["before"]), (ORIGIN + MINUTE, True))


class Reloads(unittest.TestCase):
    def test_a_change_of_rules_is_rehearsed_by_itself(self):
        with Night() as night:
            night.play(70)
            reports = night.daemon.get("/admin/scripts").json()
            self.assertIsNone(reports["rehearsal"])
            night.write("rules.lua", RULES % {"hot": 101})
            self.assertEqual(night.daemon.post("/admin/scripts/reload", "").status, 200)
            line = night.daemon.wait_log("over the last 24 h: ")
            self.assertIn("gone", line)
            rehearsal = night.daemon.get("/admin/scripts").json()["rehearsal"]
            self.assertEqual(rehearsal["generation"], 2)
            self.assertTrue(rehearsal["ok"])
            self.assertIn("instead of", rehearsal["summary"])


if __name__ == "__main__":
    unittest.main()
