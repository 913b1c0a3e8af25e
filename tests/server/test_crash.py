"""kill -9 while feeding: after a restart everything is there that is older than save_interval_s."""
import datetime
import json
import os
import shutil
import tempfile
import threading
import time
import unittest

from daemon import Daemon

INTERVAL_S = 2
SLACK_S = 1.5  # a save takes a moment, more so on a busy machine

APP = """
local md = require "moondial"
local function rows_of(step_s)
    return { key = "server_name", time = "timestamp", step_s = step_s, steps = 600,
        entities_max = 100, late_max_min = 60, future_max_min = 5, evict_after_min = 1440,
        grace_s = 0, labels = { "profile" }, columns = {
            { name = "value", kind = "last" }, { name = "level", kind = "mean" },
            { name = "peak", kind = "max" } } }
end
return md.app {
    name = "crash", version = "1",
    series = { fine = rows_of(1), coarse = rows_of(300) },
    routes = {
        md.post("/feed/{name}", function(request)
            local result, err = md.series(request.path.name):feed(request.body)
            if not result then return md.fail(err) end
            return result
        end),
        md.get("/latest/{name}", function(request)
            local series = md.series(request.path.name)
            local keys = series:keys()
            local values, times = series:latest { keys = keys, columns = { "value" } }
            return { keys = md.json.array(keys), values = values, times = times,
                profile = keys[1] and series:label(keys[1], "profile") }
        end),
        md.get("/window/{name}/{steps}", function(request)
            local series = md.series(request.path.name)
            local window, start = series:window { keys = series:keys(),
                steps = tonumber(request.path.steps), columns = { "value", "level", "peak" } }
            return { window = window, start_ms = start }
        end),
    },
}
"""


def stamp(seconds):
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Crash(unittest.TestCase):
    def setUp(self):
        self.state = tempfile.mkdtemp(prefix="moondial-state-")

    def tearDown(self):
        shutil.rmtree(self.state)

    def daemon(self, *flags):
        return Daemon({"app.lua": APP}, ["--state", os.path.join(self.state, "db"),
                                         "--save-interval-s", str(INTERVAL_S), *flags])

    def feed(self, daemon, table, records):
        answer = daemon.post(f"/feed/{table}", json.dumps({"records": records}))
        self.assertEqual(answer.json().get("accepted"), len(records), answer.body)

    def test_kill_while_feeding_loses_at_most_the_interval(self):
        """Two clients feed ten servers; sequence numbers tell what was lost."""
        acknowledged, stop = [], threading.Event()
        with self.daemon() as daemon:
            daemon.wait_ready()

            def feeder(client):
                number = 0
                while not stop.is_set():
                    number += 1
                    now = time.time()
                    records = [{"server_name": f"s{client}-{k}", "timestamp": stamp(now),
                                "value": number, "profile": "tested"} for k in range(5)]
                    try:
                        answer = daemon.post("/feed/coarse", json.dumps({"records": records}))
                    except OSError:
                        return
                    if answer.status == 200:
                        acknowledged.append((time.monotonic(), client, number))
                    time.sleep(0.01)

            threads = [threading.Thread(target=feeder, args=(client,)) for client in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(2.5 * INTERVAL_S)
            killed = time.monotonic()
            daemon.kill()
            stop.set()
            for thread in threads:
                thread.join()

            daemon.start()
            daemon.wait_ready()
            after = daemon.get("/latest/coarse").json()
            kept = dict(zip(after["keys"], (row[0] for row in after["values"])))
            self.assertEqual(len(kept), 10)
            self.assertEqual(after["profile"], "tested")
            for client in range(2):
                old = [number for when, who, number in acknowledged
                       if who == client and when < killed - INTERVAL_S - SLACK_S]
                self.assertTrue(old)
                for k in range(5):
                    self.assertGreaterEqual(kept[f"s{client}-{k}"], old[-1])
            self.feed(daemon, "coarse", [{"server_name": "s0-0", "timestamp": stamp(time.time()),
                                          "value": -1}])
            self.assertEqual(daemon.stop(), 0)

    def test_orderly_end_loses_nothing(self):
        with self.daemon() as daemon:
            daemon.wait_ready()
            now = time.time()
            self.feed(daemon, "fine", [{"server_name": "a", "timestamp": stamp(now - 9 + i),
                                        "value": i} for i in range(10)])
            self.assertEqual(daemon.stop(), 0)
            daemon.start()
            daemon.wait_ready()
            self.assertEqual(daemon.get("/latest/fine").json()["values"], [[9]])
            time.sleep(1.1)
            window = daemon.get("/window/fine/30").json()["window"][0]
            self.assertEqual([row[0] for row in window if row[0] is not None], list(range(10)))

    def test_steps_go_on_where_they_stopped(self):
        """A mean, a maximum and a last value, half before the crash and half after it."""
        now = datetime.datetime(2026, 3, 3, 10, 2, tzinfo=datetime.timezone.utc).timestamp()
        with self.daemon("--clock-speed", "0", "--clock-origin-ms", str(int(now * 1000))) as daemon:
            daemon.wait_ready()

            def send(seconds, level):
                self.feed(daemon, "coarse", [{"server_name": "a", "timestamp": stamp(seconds),
                                              "value": level, "level": level, "peak": level}])

            send(now - 300, 10)
            send(now - 290, 50)
            time.sleep(INTERVAL_S + SLACK_S)
            daemon.kill()
            daemon.start()
            daemon.wait_ready()
            self.assertEqual(daemon.get("/window/coarse/1").json()["window"], [[[50, 30, 50]]])
            send(now - 280, 0)
            self.assertEqual(daemon.get("/window/coarse/1").json()["window"], [[[0, 20, 50]]])


if __name__ == "__main__":
    unittest.main()
