"""The fleet service with everything at once: feeding, forecasts, reloads of the model, readers."""
import datetime
import json
import os
import threading
import unittest

from daemon import ROOT, Daemon

NOW = datetime.datetime(2026, 3, 3, 10, 2, tzinfo=datetime.timezone.utc)
END = NOW.replace(minute=0)
SERVERS, STEPS = 6, 160
METRICS = ["cpu_user_pct", "cpu_sys_pct", "cpu_iowait_pct", "cpu_idle_pct", "java_cpu_pct",
           "mem_used_pct", "swap_used_pct", "disk_usage_pct", "net_in_mb_s", "net_out_mb_s",
           "back_close_wait", "front_close_wait", "load_average", "uptime_days"]


def records(step):
    when = (END - datetime.timedelta(minutes=5 * step)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{"server_name": f"ppml{i:04d}", "timestamp": when, "status": "healthy",
             **{name: 5 + (step * 7 + i * 3 + k) % 11 for k, name in enumerate(METRICS)}}
            for i in range(SERVERS)]


class Mixed(unittest.TestCase):
    def setUp(self):
        flags = ["--clock-speed", "0", "--clock-origin-ms", str(int(NOW.timestamp() * 1000)),
                 "--batch-max", "4"]
        self.daemon = Daemon({}, flags, folder=os.path.join(ROOT, "scripts", "fleet"))
        self.daemon.start()
        self.daemon.wait_ready()
        history = [record for step in range(STEPS, 0, -1) for record in records(step)]
        answer = self.daemon.post("/feed/data", json.dumps({"records": history}))
        self.assertEqual(answer.json()["accepted"], SERVERS * STEPS, answer.body[:300])

    def tearDown(self):
        self.daemon.__exit__()

    def test_nothing_fails_while_everything_happens(self):
        problems = []

        def client(rounds, method, path, body=None, check=None):
            connection = self.daemon.connect(120)
            for k in range(rounds):
                sent = body(k) if body else None
                answer = self.daemon.request(method, path, sent, connection=connection)
                if answer.status != 200 or (check and not check(answer.json())):
                    problems.append((path, answer.status, answer.body[:200]))
            connection.close()

        def forecast_is_whole(answer):
            return (len(answer["predictions"]) == SERVERS
                    and all(one["model"] == "tft" for one in answer["predictions"].values()))

        jobs = [(6, "GET", "/predictions/current", None, forecast_is_whole)] * 3 + [
            (10, "POST", "/feed/data", lambda k: json.dumps({"records": records(k % 3 + 1)}),
             lambda answer: answer["accepted"] == SERVERS),
            (5, "POST", "/cache/clear"),
            (3, "POST", "/admin/reload-model"),
            (10, "GET", "/alerts/active"),
            (10, "GET", "/status"),
            (10, "GET", "/metrics"),
        ]
        threads = [threading.Thread(target=client, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])


if __name__ == "__main__":
    unittest.main()
