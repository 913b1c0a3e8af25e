"""Notifications over real HTTP: what receivers are told, and all that can go wrong with them."""
import json
import os
import threading
import time
import unittest

from daemon import ROOT, Daemon, run_cli
from night import APP, Night, Receiver, free_port, iso, wait_until, webhook

FULL = os.environ.get("MOONDIAL_FULL") == "1"


def told(message):
    """("firing" or "resolved", server, alert) of each alert of a message."""
    return [(alert["status"], alert["labels"]["server"], alert["labels"]["alertname"])
            for alert in message["json"]["alerts"]]


class Webhook(unittest.TestCase):
    def test_a_group_is_told_when_it_fires_and_when_it_has_resolved(self):
        with Receiver() as hook, Night(webhook(hook, headers={"X-Token": "t1"})) as night:
            night.step(a=97, b=95, c=20)
            night.pass_s(10)
            self.assertEqual(hook.messages, [])
            night.pass_s(30)
            message = hook.wait(2)[0]
            body = message["json"]
            hot = next(m for m in hook.messages if m["json"]["groupLabels"]["alertname"] == "hot")
            self.assertEqual(sorted(told(hot)), [("firing", "a", "hot"), ("firing", "b", "hot")])
            self.assertEqual(message["headers"]["X-Token"], "t1")
            self.assertEqual(message["headers"]["Content-Type"], "application/json")
            self.assertEqual((body["version"], body["receiver"], body["truncatedAlerts"]),
                             ("4", "hook", 0))
            alert = hot["json"]["alerts"][0]
            self.assertEqual(hot["json"]["commonLabels"]["team"], "infra")
            self.assertEqual(alert["startsAt"], iso(night.now_ms // 60000 * 60000))
            self.assertRegex(alert["annotations"]["summary"], r"^[ab] is at 9[57] %$")
            self.assertEqual(alert["fingerprint"], next(
                a["fingerprint"] for a in night.active()
                if (a["server"], a["rule"]) == (alert["labels"]["server"], "hot")))
            self.assertNotEqual(hook.messages[0]["key"], hook.messages[1]["key"])
            night.minutes(6, a=20, b=95, c=20)
            last = [sorted(told(m)) for m in hook.wait(4)[2:]]
            self.assertIn([("firing", "b", "hot"), ("resolved", "a", "hot")], last)

    def test_a_clock_that_is_moved_passes_over_no_look(self):
        """Every round the group looks again between the step that ends its alert and the next one,
        in which it fires anew: that it has ended is told, however soon that step comes."""
        rounds = 8
        with Receiver() as hook, \
                Night(webhook(hook, group_wait_s=0, group_interval_s=90)) as night:
            for _ in range(rounds):
                night.step(a=85)
                night.step(a=20)
                night.pass_s(35)
            messages = [told(message) for message in hook.wait(2 * rounds)]
            self.assertEqual(messages, rounds * [[("firing", "a", "warm")],
                                                 [("resolved", "a", "warm")]])

    def test_only_what_matches_is_told(self):
        with Receiver() as hook, \
                Night(webhook(hook, matchers={"severity": "critical", "server": "!b"},
                              group_wait_s=0)) as night:
            night.step(a=97, b=95)
            hook.wait(1)
            night.step(a=97, b=95)
            self.assertEqual([told(m) for m in hook.messages], [[("firing", "a", "hot")]])

    def test_inhibition(self):
        rules = [{"source": {"severity": "critical"}, "target": {"severity": "warning"},
                  "equal": ["server"]}]
        with Receiver() as hook, Night(webhook(hook, group_wait_s=0), inhibition=rules) as night:
            night.step(a=97, b=85)
            hook.wait(2)
            everything = sum((told(m) for m in hook.messages), [])
            self.assertEqual(sorted(everything), [("firing", "a", "hot"), ("firing", "b", "warm")])
            self.assertEqual(night.alert("warm", "a")["inhibited_by"],
                             [night.alert("hot", "a")["fingerprint"]])
            self.assertEqual(night.alert("warm", "b")["inhibited_by"], [])

    def test_maintenance(self):
        windows = [{"name": "new year", "days": ["thu"], "from": "00:00", "to": "00:10",
                    "timezone": "UTC", "matchers": {"server": "a"}}]
        with Receiver() as hook, Night(webhook(hook, group_wait_s=0), maintenance=windows) as night:
            night.step(a=97, b=97)
            hook.wait(2)
            self.assertEqual({server for m in hook.messages for _, server, _ in told(m)}, {"b"})
            self.assertEqual({a["maintenance"] for a in night.active() if a["server"] == "a"},
                             {"new year"})
            for _ in range(10):
                night.step(a=97, b=97)
            wait_until(lambda: any(server == "a" for m in hook.messages
                                   for _, server, _ in told(m)), "a, after the window")


class Failures(unittest.TestCase):
    def test_a_receiver_that_is_down_gets_everything_later(self):
        port = free_port()
        url = f"http://user:secret7@127.0.0.1:{port}/token8"
        with Night(webhook(url, group_wait_s=0, group_by=["..."]), degraded_after_s=1) as night:
            night.step(a=97)
            wait_until(lambda: night.metric("moondial_notifications_total", receiver="hook",
                                            outcome="failed"), "a failed attempt")
            night.step(a=20)
            night.pass_s(300)
            wait_until(lambda: night.metric("moondial_notification_queue_length",
                                            receiver="hook") == 4, "four messages")
            wait_until(lambda: any("receiver hook" in reason for reason in
                                   night.daemon.get("/health").json()["degraded"]), "degraded")
            health = night.daemon.get("/health").body.decode()
            night.restart()
            with Receiver(port=port) as hook:
                messages = hook.wait(4)
                self.assertEqual([told(m)[0][0] for m in messages],
                                 ["firing", "firing", "resolved", "resolved"])
                self.assertEqual(len({m["key"] for m in messages}), 4)
                self.assertEqual(messages[0]["headers"]["Authorization"][:6], "Basic ")
                wait_until(lambda: not night.daemon.get("/health").json()["degraded"], "healthy")
                wait_until(lambda: night.metric("moondial_notification_queue_length",
                                                receiver="hook") == 0, "an empty queue")
            for secret in ("secret7", "token8", "user:"):
                self.assertNotIn(secret, "\n".join(night.daemon.log) + health)

    def test_errors_are_tried_again_under_the_same_key(self):
        with Receiver(500, 503, b"rubbish\r\n\r\n", b"") as hook, \
                Night(webhook(hook, group_wait_s=0, group_by=[])) as night:
            night.step(a=97)
            hook.wait(1, 60)
            self.assertEqual(hook.attempts, 5)
            wait_until(lambda: night.metric("moondial_notifications_total", receiver="hook",
                                            outcome="sent") == 1, "the count")
            self.assertEqual(night.metric("moondial_notifications_total", receiver="hook",
                                          outcome="failed"), 4)

    def test_what_it_says_at_length_does_not_matter(self):
        with Receiver() as hook, \
                Night(webhook(hook, group_wait_s=0, group_by=["..."])) as night:
            hook.says = b"x" * 1000000
            night.step(a=97)
            hook.wait(2)
            wait_until(lambda: night.metric("moondial_notifications_total", receiver="hook",
                                            outcome="sent") == 2, "the count")
            self.assertEqual(hook.attempts, 2)

    def test_retry_after_is_honoured(self):
        with Receiver((429, {"Retry-After": "3"})) as hook, \
                Night(webhook(hook, group_wait_s=0, group_by=[])) as night:
            night.step(a=97)
            wait_until(lambda: hook.attempts, "an attempt")
            begun = time.monotonic()
            hook.wait(1)
            self.assertGreater(time.monotonic() - begun, 2.5)

    def test_a_message_that_is_rejected_is_dropped(self):
        with Receiver(400) as hook, \
                Night(webhook(hook, group_wait_s=0, group_by=["..."])) as night:
            night.step(a=97)
            hook.wait(1)  # the other of the two
            self.assertIn("HTTP 400", night.daemon.wait_log("receiver hook rejects a message"))
            self.assertEqual(night.metric("moondial_notifications_total", receiver="hook",
                                          outcome="rejected"), 1)
            self.assertEqual(hook.attempts, 2)

    def test_one_that_hangs_delays_nobody_else(self):
        gate = threading.Event()
        with Receiver(*[gate] * 10) as slow, Receiver() as quick, \
                Night(webhook(slow, name="slow", group_wait_s=0),
                      webhook(quick, name="quick", group_wait_s=0)) as night:
            night.step(a=97)
            quick.wait(2)
            night.minutes(6, a=97, b=97)
            quick.wait(4)
            self.assertEqual((slow.attempts, slow.messages), (1, []))
            self.assertEqual(night.daemon.stop(), 0)  # in the middle of an attempt
            gate.set()
            night.start()
            slow.wait(4)
            self.assertEqual(len({m["key"] for m in slow.messages}),
                             len({m["body"] for m in slow.messages}))


class Changes(unittest.TestCase):
    def test_receivers_come_and_go(self):
        with Receiver() as hook, Night(webhook(f"http://127.0.0.1:{free_port()}/",
                                               group_wait_s=0)) as night:
            night.step(a=97)
            wait_until(lambda: night.metric("moondial_notification_queue_length",
                                            receiver="hook") == 2, "two messages")
            night.write(webhook(hook, name="other", group_wait_s=0))
            night.daemon.wait_log("receiver hook is gone, its undelivered messages are dropped: 2")
            hook.wait(2)
            self.assertEqual({m["json"]["receiver"] for m in hook.messages}, {"other"})
            night.write(webhook(hook, name="other", group_wait_s=0, repeat_interval_min=60))
            night.daemon.wait_log("generation 3")
            night.minutes(6, a=97)
            self.assertEqual(len(hook.messages), 2)

    def test_another_url_gets_what_waits(self):
        with Receiver() as hook, Night(webhook(f"http://127.0.0.1:{free_port()}/",
                                               group_wait_s=0)) as night:
            night.step(a=97)
            wait_until(lambda: night.metric("moondial_notification_queue_length",
                                            receiver="hook") == 2, "two messages")
            night.write(webhook(hook, group_wait_s=0))
            hook.wait(2)

    def test_mistakes_keep_the_old_ones(self):
        with Receiver() as hook, Night(webhook(hook, group_wait_s=0)) as night:
            night.write(webhook(hook, group_weight_s=0))
            line = night.daemon.wait_log("group_weight_s")
            self.assertIn("notify.lua:1: ", line)
            self.assertIn("(did you mean 'group_wait_s'?)", line)
            status, _, said = run_cli("check", night.daemon.folder)
            self.assertEqual(status, 2)
            self.assertIn("group_weight_s", said)
            night.step(a=97)
            hook.wait(2)

    def test_matchers_and_zones_are_checked(self):
        cases = [({"receivers": [webhook("http://h/", matchers={"server": "~("})]}, "no pattern"),
                 ({"receivers": [webhook("http://h/", matchers={"a b": "x"})]}, "no label name"),
                 ({"maintenance": [{"name": "w", "from": "01:00", "to": "02:00",
                                    "timezone": "Mars/Base"}]}, "Mars/Base")]
        for notify, says in cases:
            receivers = notify.pop("receivers", [])
            night = Night(*receivers, **notify)
            with night.daemon.scratch():
                status, _, said = run_cli("check", night.daemon.folder)
            os.rmdir(night.state)
            self.assertEqual(status, 2, said)
            self.assertIn(says, said)


class File(unittest.TestCase):
    def test_lines_below_the_state_folder(self):
        with Night({"kind": "file", "path": "alerts.jsonl"}) as night:
            path = os.path.join(night.state, "alerts.jsonl")
            night.step(a=97)
            wait_until(lambda: os.path.exists(path) and open(path).read().count("\n") == 2, path)
            night.restart(kill=False)
            night.step(a=20)
            wait_until(lambda: open(path).read().count("\n") == 4, lambda: open(path).read())
            lines = [json.loads(line) for line in open(path)]
            self.assertEqual([line["status"] for line in lines],
                             ["firing", "firing", "resolved", "resolved"])
            self.assertEqual({line["receiver"] for line in lines}, {"file"})

    def test_other_places_are_refused(self):
        for path in ("/etc/alerts.jsonl", "../alerts.jsonl", "nowhere/alerts.jsonl", "sub/"):
            night = Night({"kind": "file", "path": path})
            with self.assertRaises(RuntimeError) as failure:
                with night:
                    pass
            self.assertIn("alerts.notify", str(failure.exception))

    def test_a_link_is_not_followed(self):
        with Night({"kind": "file", "path": "alerts.jsonl"}) as night:
            target = os.path.join(night.state, "target")
            os.symlink(target, os.path.join(night.state, "alerts.jsonl"))
            night.step(a=97)
            night.daemon.wait_log("receiver file: cannot open its file")
            self.assertFalse(os.path.exists(target))


class Silences(unittest.TestCase):
    def test_a_silence_holds_across_a_restart_until_it_ends(self):
        with Receiver() as hook, \
                Night(webhook(hook, group_wait_s=0, matchers={"alertname": "hot"})) as night:
            first = night.silence(matchers={"server": "~a|b"}, minutes=30, comment="disk swap")
            night.step(a=97, c=97)
            hook.wait(1)
            night.restart(kill=False)
            night.step(a=97, c=97)
            wait_until(lambda: night.alert("hot", "a")["silenced_by"] == [first], "silenced_by")
            self.assertEqual(night.alert("hot", "c")["silenced_by"], [])
            listed = night.daemon.get("/silences").json()
            self.assertEqual([(s["id"], s["author"], s["comment"], s["state"], s["matchers"])
                              for s in listed],
                             [(first, "ann", "disk swap", "active", {"server": "~a|b"})])
            self.assertEqual(sum((told(m) for m in hook.messages), []),
                             [("firing", "c", "hot")])
            self.assertEqual(night.daemon.request("DELETE", f"/silences/{first}").status, 200)
            self.assertEqual(night.daemon.request("DELETE", f"/silences/{first}").status, 409)
            self.assertEqual(night.daemon.request("DELETE", "/silences/x").status, 404)
            night.minutes(6, a=97, c=97)
            wait_until(lambda: any(("firing", "a", "hot") in told(m) for m in hook.messages),
                       "the alert that was silenced")

    def test_bad_ones_are_refused(self):
        with Night() as night:
            for fields, status in (({"matchers": {}}, 422), ({"matchers": {"a": "~.*"}}, 422),
                                   ({"matchers": {"a": "~(x"}}, 400),
                                   ({"matchers": {"a": "x"}, "minutes": -1}, 422),
                                   ({"matchers": {"a": 3}}, 500), ({}, 500)):
                answer = night.daemon.post("/silence", json.dumps({"author": "ann", **fields}))
                self.assertEqual(answer.status, status, (fields, answer.body))
            self.assertEqual(night.daemon.get("/silences").json(), [])


class FleetRoutes(unittest.TestCase):
    """/silences of the fleet scripts."""

    GOOD = {"matchers": {"server": "~ppdb.*"}, "minutes": 120, "author": "ann"}
    BAD = [("{", 400), ("[]", 422), ({"matchers": None}, 422), ({"matchers": {}}, 422),
           ({"matchers": {"server": 3}}, 422), ({"matchers": ["x"]}, 422),
           ({"matchers": {"server": "~("}}, 400), ({"matchers": {"server": "~.*"}}, 422),
           ({"matchers": {"": "x"}}, 400), ({"minutes": "two"}, 422), ({"minutes": 0}, 422),
           ({"minutes": None}, 422), ({"minutes": 1e300}, 422), ({"author": ""}, 422),
           ({"author": None}, 422), ({"author": "x" * 1000}, 422), ({"comment": 7}, 422),
           ({"ends_at": "2030-01-01T00:00:00Z"}, 422), ({"starts_at": "soon"}, 422),
           ({"minutes": None, "ends_at": "2020-01-01T00:00:00Z"}, 422)]

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon({}, ["--clock-speed", "0", "--clock-origin-ms", "1767225600000",
                                 "--api-key", "k" * 20],
                            folder=os.path.join(ROOT, "scripts", "fleet"))
        cls.daemon.start()
        cls.daemon.wait_ready()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def call(self, method, path, body=None, key="k" * 20):
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        answer = self.daemon.request(method, path, body=text,
                                     headers={"X-API-Key": key} if key else {})
        return answer.status, answer.json()

    def test_a_silence_comes_and_goes(self):
        status, made = self.call("POST", "/silences", {**self.GOOD, "comment": "disk swap"})
        self.assertEqual(status, 201)
        status, listed = self.call("GET", "/silences")
        self.assertEqual((status, listed["count"]), (200, 1))
        silence = listed["silences"][0]
        self.assertEqual(silence, {
            "id": made["id"], "state": "active", "matchers": {"server": "~ppdb.*"},
            "author": "ann", "comment": "disk swap", "starts_at": "2026-01-01T00:00:00Z",
            "ends_at": "2026-01-01T02:00:00Z", "updated_at": "2026-01-01T00:00:00Z"})
        path = f"/silences/{made['id']}"
        self.assertEqual(self.call("DELETE", path)[0], 200)
        self.assertEqual(self.call("DELETE", path)[0], 409)
        self.assertEqual(self.call("GET", "/silences")[1]["count"], 0)
        self.assertEqual(self.call("GET", "/silences?state=all")[1]["count"], 1)
        self.assertEqual(self.call("GET", "/silences?state=gone")[0], 400)
        self.assertEqual(self.call("DELETE", "/silences/nope")[0], 404)

    def test_a_key_is_needed(self):
        for method, path, body in (("POST", "/silences", self.GOOD), ("GET", "/silences", None),
                                   ("DELETE", "/silences/x", None)):
            for key in ("", "wrong"):
                self.assertIn(self.call(method, path, body, key)[0], (401, 403))

    def test_bad_ones_are_refused(self):
        for fields, wanted in self.BAD:
            body = fields if isinstance(fields, str) else {**self.GOOD, **fields}
            status, answer = self.call("POST", "/silences", body)
            self.assertEqual(status, wanted, (fields, answer))
            self.assertIn("detail", answer)
        self.assertEqual([s for s in self.call("GET", "/silences?state=all")[1]["silences"]
                          if s["comment"] != "disk swap"], [])


class Killed(unittest.TestCase):
    """kill -9 again and again: every change of an alert is told, and under one key only."""

    def test_nothing_is_lost_and_nothing_has_two_keys(self):
        rounds = 40 if FULL else 10
        with Receiver() as hook, \
                Night(webhook(hook, group_wait_s=0, group_interval_s=1, group_by=["..."])) as night:
            seen = set()
            for number in range(rounds):
                night.step(a=97 if number % 2 == 0 else 20, b=20 if number % 3 == 0 else 85)
                time.sleep(0.05 * (number % 5))
                seen |= {(a["fingerprint"], a["fired_ms"]) for a in night.active()
                         if a["state"] == "firing"}
                night.restart()
                night.pass_s(5)
                wait_until(lambda: self.starts(hook) == len(seen),
                           lambda: f"{len(seen)} alerts, {self.starts(hook)} told")
            night.step(a=20, b=20)
            night.pass_s(5)
            wait_until(lambda: self.ends(hook) == self.starts(hook) == len(seen),
                       lambda: f"{len(seen)} alerts, {self.starts(hook)} told, {self.ends(hook)} "
                               "ended")
            bodies = {}
            for message in hook.messages:
                self.assertEqual(bodies.setdefault(message["key"], message["body"]),
                                 message["body"])
            keys = {}
            for message in hook.messages:
                alert = message["json"]["alerts"][0]
                event = alert["fingerprint"], alert["startsAt"], alert["status"]
                self.assertEqual(keys.setdefault(event, message["key"]), message["key"])

    def events(self, hook, status):
        return len({(a["fingerprint"], a["startsAt"]) for m in list(hook.messages)
                    for a in m["json"]["alerts"] if a["status"] == status})

    def starts(self, hook):
        return self.events(hook, "firing")

    def ends(self, hook):
        return self.events(hook, "resolved")


POLICY = """
local test = require "moondial.test"
local function fires(name)
    return test.case { name, values = { a = { cpu = "97x3" } }, run = function(t)
        t.advance_min(2)
        t.equal(t.get("/active").alerts[1].state, "firing")
        t.advance_min(1)
    end }
end
return { fires "one", fires "two", fires "three" }
"""


class PolicyTests(unittest.TestCase):
    def test_their_alerts_are_told_to_nobody(self):
        with Receiver() as hook:
            night = Night(webhook(hook, group_wait_s=0))
            with night.daemon.scratch():
                os.mkdir(os.path.join(night.daemon.folder, "tests"))
                with open(os.path.join(night.daemon.folder, "tests", "policy.lua"), "w") as file:
                    file.write(POLICY)
                status, out, err = run_cli("test", night.daemon.folder)
            os.rmdir(night.state)
            self.assertEqual((status, out.splitlines()[-1]), (0, "3 passed, 0 failed"), out + err)
            self.assertEqual(hook.attempts, 0)


class WithoutAlerts(unittest.TestCase):
    def test_an_app_without_alerts_has_none_to_silence(self):
        app = APP[:APP.index("    alerts = {")] + APP[APP.index("    routes = {"):]
        with Night(app=app) as night:
            self.assertEqual(night.daemon.get("/silences").status, 500)
            self.assertIn("declares no alerts", night.daemon.wait_log("declares no alerts"))


if __name__ == "__main__":
    unittest.main()
