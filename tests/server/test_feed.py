"""POST /feed/data of the fleet scripts: what bad input gets, and that the good is kept."""
import datetime
import json
import os
import unittest

from daemon import ROOT, Daemon

NOW = datetime.datetime(2026, 3, 3, 10, 2, tzinfo=datetime.timezone.utc)
FLAGS = ["--clock-speed", "0", "--clock-origin-ms", str(int(NOW.timestamp() * 1000)),
         "--servers-max", "300", "--feed-bytes-max", str(4 << 20), "--timezone", "UTC"]


def at(minutes=0, **more):
    return (NOW + datetime.timedelta(minutes=minutes, **more)).strftime("%Y-%m-%dT%H:%M:%SZ")


def record(server="ppml0001", minutes=-1, **fields):
    return {"server_name": server, "timestamp": at(minutes), "cpu_user_pct": 40.5, **fields}


GOOD = json.dumps(record())

# name, body, expected status, expected text in "detail"
NO_FEEDS = [
    ("empty", "", 400, "byte"),
    ("blank", "  \n ", 400, "byte"),
    ("not JSON", "hello", 400, "byte"),
    ("truncated", '{"records": [' + GOOD, 400, "byte"),
    ("truncated text", '{"records": [{"server_name": "a', 400, "byte"),
    ("trailing text", '{"records": [' + GOOD + "]} x", 400, "byte"),
    ("NaN", '{"records": [' + GOOD.replace("40.5", "NaN") + "]}", 400, "byte"),
    ("Infinity", '{"records": [' + GOOD.replace("40.5", "-Infinity") + "]}", 400, "byte"),
    ("1e400", '{"records": [' + GOOD.replace("40.5", "1e400") + "]}", 400, "byte"),
    ("too deep", '{"records": ' + "[" * 40 + "]" * 40 + "}", 400, "byte"),
    ("very deep", "[" * 1000000, 400, "byte"),
    ("not UTF-8", b'{"records": [{"server_name": "\xff\xfe"}]}', 400, "byte"),
    ("lone surrogate", '{"records": [{"server_name": "\\ud800"}]}', 400, "byte"),
    ("key twice", '{"records": [], "records": []}', 400, "byte"),
    ("too large", '{"records": [' + " " * (4 << 20) + "]}", 413, "limit"),
    ("list", "[" + GOOD + "]", 422, "records"),
    ("text", '"records"', 422, "records"),
    ("null", "null", 422, "records"),
    ("other object", '{"rows": []}', 422, "records"),
    ("records is an object", '{"records": ' + GOOD + "}", 422, "records"),
    ("records is a number", '{"records": 1}', 422, "records"),
]

# name, record, field that is blamed, text in the reason
BAD_RECORDS = [
    ("a number", 3, "", "object"),
    ("null", None, "", "object"),
    ("a list", [], "", "object"),
    ("no server", {"timestamp": at(), "cpu_user_pct": 1}, "server_name", ""),
    ("server is a number", record(server=5), "server_name", ""),
    ("empty server", record(server=""), "server_name", ""),
    ("long server", record(server="x" * 5000), "server_name", ""),
    ("NUL in the name", record(server="a\0b"), None, ""),
    ("no time", {"server_name": "a", "cpu_user_pct": 1}, "timestamp", ""),
    ("time is no time", record() | {"timestamp": "yesterday"}, "timestamp", ""),
    ("February 30", record() | {"timestamp": "2026-02-30T00:00:00Z"}, "timestamp", ""),
    ("future", record(minutes=6), "timestamp", "future"),
    ("far future", record() | {"timestamp": "9999-12-31T23:59:59Z"}, "timestamp", "future"),
    ("before the window", record(minutes=-60 * 24 * 30), "timestamp", "older"),
    ("before time", record() | {"timestamp": "0001-01-01T00:00:00Z"}, "timestamp", "older"),
    ("above its range", record(cpu_user_pct=100.5), "cpu_user_pct", "outside"),
    ("below its range", record(mem_used_pct=-1), "mem_used_pct", "outside"),
    ("huge", record(load_average=1e39), "load_average", ""),
    ("text for a number", record(cpu_user_pct="40"), "cpu_user_pct", ""),
    ("list for a number", record(cpu_user_pct=[40]), "cpu_user_pct", ""),
    ("true for a number", record(cpu_user_pct=True), "cpu_user_pct", ""),
    ("unknown status", record(status="on_fire"), "status", ""),
    ("status is a number", record(status=1), "status", ""),
    ("profile is a number", record(profile=1), "profile", ""),
]


class Feed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon({}, FLAGS, folder=os.path.join(ROOT, "scripts", "fleet"))
        cls.daemon.start()
        cls.daemon.wait_ready()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()

    def feed(self, body):
        if not isinstance(body, (str, bytes)):
            body = json.dumps({"records": body})
        return self.daemon.post("/feed/data", body, headers={"Content-Type": "application/json"})

    def test_no_feeds(self):
        for name, body, status, says in NO_FEEDS:
            with self.subTest(name):
                answer = self.feed(body)
                self.assertEqual(answer.status, status, answer.body[:200])
                self.assertIn(says, answer.json()["detail"])
                self.assertTrue(answer.json()["code"])
        self.assertEqual(self.feed([record()]).status, 200)

    def test_bad_records_are_named_and_the_good_ones_kept(self):
        for name, bad, field, says in BAD_RECORDS:
            with self.subTest(name):
                alone, among = self.feed([bad]), self.feed([record(), bad, record()])
                if name == "NUL in the name":  # no JSON that we take
                    self.assertEqual((alone.status, among.status), (400, 400))
                    continue
                self.assertEqual(alone.status, 422, alone.body)
                self.assertTrue(alone.json()["detail"])
                self.assertEqual(among.status, 200, among.body)
                answer = among.json()
                self.assertEqual((answer["accepted"], answer["rejected"]), (2, 1))
                error, = answer["errors"]
                self.assertEqual((error["index"], error["field"]), (1, field), error)
                self.assertIn(says, error["reason"])
                self.assertTrue(error["reason"])

    def test_all_of_them_at_once(self):
        bad = [entry[1] for entry in BAD_RECORDS if entry[0] != "NUL in the name"]
        answer = self.feed(bad + [record()] + bad).json()
        self.assertEqual((answer["accepted"], answer["rejected"]), (1, 2 * len(bad)))
        expected = [i for i in range(2 * len(bad) + 1) if i != len(bad)]
        self.assertEqual([error["index"] for error in answer["errors"]], expected)

    def test_unknown_metrics_are_ignored_and_counted(self):
        answer = self.feed([record(colour="red", temperature=3.5), record(nested={"a": [1]})])
        self.assertEqual((answer.status, answer.json()["accepted"]), (200, 2))
        self.assertEqual(answer.json()["ignored"], 3)

    def test_only_the_first_hundred_reasons(self):
        answer = self.feed([record()] + [record(cpu_user_pct=-5)] * 500).json()
        self.assertEqual((answer["accepted"], answer["rejected"]), (1, 500))
        self.assertEqual([error["index"] for error in answer["errors"]], list(range(1, 101)))

    def test_empty_batch(self):
        answer = self.feed([])
        self.assertEqual((answer.status, answer.json()["status"]), (200, "ignored"))

    def test_new_servers_stop_at_the_limit(self):
        """10,000 servers in one post: the table takes its 300, each other gets a reason."""
        answer = self.feed([record(server=f"new{i:05d}") for i in range(10000)])
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json()["accepted"] + answer.json()["rejected"], 10000)
        self.assertLessEqual(answer.json()["accepted"], 300)
        self.assertLessEqual(answer.json()["servers_tracked"], 300)
        self.assertEqual(len(answer.json()["errors"]), 100)
        for error in answer.json()["errors"]:
            self.assertIn("300", error["reason"])

    def test_too_little_data_is_no_error(self):
        with Daemon({}, FLAGS, folder=os.path.join(ROOT, "scripts", "fleet")) as daemon:
            answer = daemon.get("/predictions/current")
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.json()["error"], "insufficient_data")
            self.assertEqual(answer.json()["predictions"], {})


if __name__ == "__main__":
    unittest.main()
