"""kill -9 in a noisy night: alerts go on where they were, and every receiver hears of each once.

The night is moved on minute by minute (the op `clock`), the daemon is killed at random moments in
between: while records come in, while a step closes, while messages are sent, while it starts. In
the end its history and what a recording Alertmanager was told are those of the same night without
kills. To an Alertmanager an alert is its labels and startsAt; telling it again is no new alert.
"""
import contextlib
import http.client
import http.server
import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
import unittest

from daemon import Daemon
from test_control import Peer

KILLS = 100 if os.environ.get("MOONDIAL_FULL") == "1" else 6
SECONDS_MAX, QUIET_SECONDS = 60, 2
STEP_MS = 60000
START_MS = 1767225600000
SERVERS = [f"s{number:02d}" for number in range(12)]

APP = """
local md = require "moondial"
return md.app {
    name = "night", version = "1",
    series = {
        servers = { key = "server", time = "at", step_s = 60, steps = 60, entities_max = 100,
            late_max_min = 5, future_max_min = 5, evict_after_min = 1440, grace_s = 0,
            columns = { { name = "cpu", kind = "last" } } },
    },
    alerts = {
        series = "servers", entity = "server",
        rules = {
            { name = "spike", severity = "critical", watch = md.current { "cpu" }, above = 90 },
            { name = "high", severity = "warning", watch = md.current { "cpu" }, above = 70,
                for_min = 2, keep_firing_min = 2 },
        },
        notify = { receivers = { { kind = "alertmanager", url = "http://127.0.0.1:%d" } } },
    },
    routes = {
        md.post("/feed", function(request)
            local result, err = md.series("servers"):feed(request.body)
            if not result then return md.fail(err) end
            return result
        end),
        md.get("/history", function()
            return { events = md.json.array(md.alerts.history { since_ms = 0, limit = 100000 }) }
        end),
    },
}
"""


class Alertmanager:
    """Takes POST /api/v2/alerts, now and then with an error, and remembers what it was told."""

    def __init__(self):
        self.alerts = {}  # (labels, startsAt) -> endsAt of what was told last
        self.lock = threading.Lock()
        self.chance = random.Random(3)
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = recorder.take(self.path, json.loads(body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, alerts):
        time.sleep(self.chance.uniform(0, 0.03))
        if path != "/api/v2/alerts":
            return 404
        with self.lock:
            for alert in alerts:
                identity = (json.dumps(alert["labels"], sort_keys=True), alert["startsAt"])
                self.alerts[identity] = alert["endsAt"]
        return 200 if self.chance.random() < 0.95 else 503

    def told(self):
        with self.lock:
            return dict(self.alerts)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def load_of(server, minute):
    """Walks about, and jumps for a minute or a few every now and then."""
    chance = random.Random(f"{server} {minute // 3}")
    base = chance.uniform(20, 85)
    return 95.0 if random.Random(f"{server}/{minute}").random() < 0.08 else base


class Night:
    """One night's daemon, moved on minute by minute, whoever kills it in between."""

    def __init__(self):
        self.receiver = Alertmanager()
        self.state = tempfile.mkdtemp(prefix="moondial-night-")
        self.now_ms, self.minute, self.starts = START_MS, 0, 0
        self.daemon = Daemon({"app.lua": APP % self.receiver.port})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.__exit__()
        self.receiver.close()
        shutil.rmtree(self.state)

    def start(self):
        self.daemon.flags = ["--state", self.state, "--save-interval-s", "0.03", "--clock-speed",
                             "0", "--clock-origin-ms", str(self.now_ms)]
        self.daemon.start()
        self.daemon.wait_ready()

    def sql(self, text, mode):
        """Runs it on the daemon's database, beside the daemon."""
        path = f"file:{self.state}/moondial.db?mode={mode}"
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=5)) as database, database:
            return database.execute(text).fetchall()

    def saved(self, end_ms):
        """How many servers' records of the step that ends then are on the disk."""
        return self.sql(f"SELECT count(*) FROM step WHERE end_ms = {end_ms}", "ro")[0][0]

    def feed(self, begin_ms):
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin_ms // 1000 + 1))
        records = [{"server": server, "at": when, "cpu": load_of(server, self.minute)}
                   for server in SERVERS]
        answer = self.daemon.post("/feed", json.dumps({"records": records}))
        assert answer.json().get("accepted") == len(SERVERS), answer.body

    def step(self):
        """The next minute. A kill may end it anywhere: then it is begun anew, as a feeder would."""
        begin_ms = START_MS + self.minute * STEP_MS
        if self.now_ms == begin_ms:
            self.feed(begin_ms)
            limit = time.monotonic() + SECONDS_MAX
            while self.saved(begin_ms + STEP_MS) < len(SERVERS):
                if self.daemon.process.poll() is not None:
                    raise ConnectionError("killed")
                assert time.monotonic() < limit, "records are not saved"
                time.sleep(0.005)
            self.now_ms = begin_ms + STEP_MS
        with Peer(os.path.join(self.state, "control.sock")) as peer:
            answer = peer.ask(op="clock", now_ms=self.now_ms)
        if answer is None:
            raise ConnectionError("killed")
        assert answer["ok"], answer
        self.minute += 1

    def history(self):
        return self.daemon.get("/history").json()["events"]


    def live(self, minutes):
        """Until it is so late."""
        self.start()
        while self.minute < minutes:
            self.step()

    def live_until_killed(self, seconds):
        """The process is killed so long after it began to start."""
        def kill():
            while self.daemon.process is None:
                time.sleep(0.001)
            time.sleep(seconds)
            self.daemon.process.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            self.live(float("inf"))
        except (OSError, RuntimeError, http.client.HTTPException):
            pass  # it is looked at below whether that was the kill
        killer.join()
        status = self.daemon.process.wait(SECONDS_MAX)
        self.daemon.reader.join(5)
        self.daemon.process = None
        assert status == -signal.SIGKILL, (status, self.daemon.log)

    def told(self, is_all):
        """What the Alertmanager has been told in the end: by alert, when it ended, or None."""
        end = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.now_ms // 1000))

        def now():
            told = self.receiver.told()
            return {alert: ends if ends[:19] <= end else None for alert, ends in told.items()}

        limit = time.monotonic() + SECONDS_MAX
        while not is_all(now()) and time.monotonic() < limit:
            time.sleep(0.1)
        time.sleep(QUIET_SECONDS)  # nothing more must come
        return now()


class AlertCrash(unittest.TestCase):
    maxDiff = 2000

    def test_kills_lose_and_repeat_nothing(self):
        chance = random.Random(5)
        with Night() as killed, Night() as quiet:
            for _ in range(KILLS):
                killed.live_until_killed(chance.uniform(0, 1.5))
            minutes = killed.minute + 5
            killed.live(minutes)
            quiet.live(minutes)
            self.compare(killed, quiet)

    def test_a_full_disk_stops_no_alert_and_leaves_no_gap(self):
        """What cannot be kept is told all the same, and is in the history later."""
        with Night() as troubled, Night() as quiet:
            troubled.live(10)
            troubled.sql("CREATE TRIGGER full BEFORE INSERT ON alert_tick "
                         "BEGIN SELECT RAISE(FAIL, 'the disk is full'); END", "rw")
            kept = len(troubled.history())
            for _ in range(10):
                troubled.step()
                health = troubled.daemon.get("/health").json()
                self.assertIn("the disk is full", json.dumps(health))
            self.assertEqual(len(troubled.history()), kept)
            troubled.sql("DROP TRIGGER full", "rw")
            troubled.step()
            self.assertNotIn("disk is full", troubled.daemon.get("/health").body.decode())
            quiet.live(troubled.minute)
            self.compare(troubled, quiet)

    def compare(self, killed, quiet):
        events = quiet.history()
        fired = [event for event in events if event.get("to") == "firing"]
        self.assertGreater(len(fired), quiet.minute)
        self.assertEqual(killed.history(), events)
        resolved = sum(event.get("to") == "resolved" for event in events)

        def is_all(told):
            ended = sum(ends is not None for ends in told.values())
            return (len(told), ended) == (len(fired), resolved)

        told = quiet.told(is_all)
        self.assertTrue(is_all(told), (told, len(fired), resolved))
        self.assertEqual(killed.told(lambda now: now == told), told)


if __name__ == "__main__":
    unittest.main()
