"""API keys, rate limits, CORS, places in flight."""
import http.client
import os
import threading
import time
import unittest

from daemon import Daemon

APP = """
local md = require "moondial"
return md.app {
    name = "probe", version = "1",
    routes = {
        md.get("/open", { key = false }, function() return { open = true } end),
        md.get("/closed", function(request) return { closed = true } end),
        md.post("/limited", { key = false, rate_per_min = 5 }, function() return {} end),
        md.get("/limited", { key = false, rate_per_min = 3 }, function() return {} end),
        md.get("/admin", { admin = true }, function() return { admin = true } end),
        md.post("/size", { key = false }, function(request) return { bytes = #request.body } end),
        md.get("/large", { key = false }, function() return ("x"):rep(400000) end),
        md.get("/nap", { key = false }, function() md.sleep(1.5) return { rested = true } end),
    },
}
"""
KEY = "correct horse battery"


class Keys(unittest.TestCase):
    def check(self, daemon, key=KEY):
        for name, headers, status in (
                ("none", {}, 403),
                ("wrong", {"X-API-Key": "x" * len(key)}, 403),
                ("beginning", {"X-API-Key": key[:-1]}, 403),
                ("longer", {"X-API-Key": key + "x"}, 403),
                ("twice itself", {"X-API-Key": key + key}, 403),
                ("empty", {"X-API-Key": ""}, 403),
                ("right", {"X-API-Key": key}, 200),
                ("right with blanks", {"X-API-Key": "  " + key + "  "}, 200),
                ("bearer", {"Authorization": "Bearer " + key}, 200),
                ("bearer, lower case", {"authorization": "bearer " + key}, 200),
                ("basic", {"Authorization": "Basic " + key}, 403)):
            with self.subTest(name):
                answer = daemon.get("/closed", headers=headers)
                self.assertEqual(answer.status, status)
                if status == 403:
                    self.assertEqual(answer.json()["code"], "FORBIDDEN")
        for path in ("/open", "/health", "/ready", "/metrics", "/openapi.json"):
            self.assertIn(daemon.get(path).status, (200, 503), path)
        for path in ("/admin", "/admin/log-level"):
            self.assertEqual(daemon.get(path).status, 403)
            self.assertEqual(daemon.get(path, headers={"X-API-Key": key}).status, 200)
        self.assertEqual(daemon.get("/admin", headers={"X-API-Key": key}).status, 200)

    def test_flag(self):
        with Daemon({"app.lua": APP}, ["--api-key", KEY]) as daemon:
            self.check(daemon)

    def test_environment(self):
        env = {"NORDIQ_API_KEY": KEY, "TFT_API_KEY": "no" * 8}
        with Daemon({"app.lua": APP}, env=env) as daemon:
            self.check(daemon)
        with Daemon({"app.lua": APP}, env={"TFT_API_KEY": KEY}) as daemon:
            self.check(daemon)

    def test_file_beside_the_scripts(self):
        with Daemon({"app.lua": APP, ".nordiq_key": "\n " + KEY + "\n\n"},
                    env={"TFT_API_KEY": "no" * 8}) as daemon:
            self.check(daemon)

    def test_file_by_name(self):
        with Daemon({"app.lua": APP, "secret": KEY + "\n"}) as daemon:
            daemon.stop()
            daemon.flags += ["--api-key-file", os.path.join(daemon.folder, "secret")]
            daemon.start()
            self.check(daemon)

    def test_without_a_key_all_is_open(self):
        with Daemon({"app.lua": APP}) as daemon:
            for path in ("/open", "/closed", "/admin"):
                self.assertEqual(daemon.get(path).status, 200, path)


class RateLimits(unittest.TestCase):
    def test_limit_holds_per_route(self):
        with Daemon({"app.lua": APP}, ["--rate-limit-loopback"]) as daemon:
            posts = [daemon.post("/limited", "").status for _ in range(6)]
            gets = [daemon.get("/limited") for _ in range(4)]
            self.assertEqual(posts, [200] * 5 + [429])
            self.assertEqual([get.status for get in gets], [200] * 3 + [429])
            self.assertEqual(gets[-1].json()["code"], "RATE_LIMITED")
            self.assertTrue(1 <= int(gets[-1].headers["retry-after"]) <= 20)
            self.assertEqual(daemon.get("/open").status, 200)

    def test_loopback_is_free_by_default(self):
        with Daemon({"app.lua": APP}) as daemon:
            self.assertEqual({daemon.get("/limited").status for _ in range(10)}, {200})


class Cors(unittest.TestCase):
    def test_listed_origins(self):
        flags = ["--cors-origins", "http://localhost:8501,https://board.example"]
        with Daemon({"app.lua": APP}, flags) as daemon:
            for origin in ("http://localhost:8501", "https://board.example"):
                headers = daemon.get("/open", headers={"Origin": origin}).headers
                self.assertEqual(headers["access-control-allow-origin"], origin)
                self.assertEqual(headers["access-control-allow-credentials"], "true")
                self.assertIn("Origin", headers["vary"])
            for origin in ("https://evil.example", "http://localhost", "null",
                           "http://localhost:8501,https://board.example"):
                headers = daemon.get("/open", headers={"Origin": origin}).headers
                self.assertNotIn("access-control-allow-origin", headers)
            preflight = daemon.request("OPTIONS", "/limited", headers={
                "Origin": "https://board.example", "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-api-key"})
            self.assertEqual(preflight.status, 204)
            self.assertEqual(preflight.headers["access-control-allow-origin"],
                             "https://board.example")
            self.assertIn("POST", preflight.headers["access-control-allow-methods"])
            self.assertIn("X-API-Key", preflight.headers["access-control-allow-headers"])

    def test_none_by_default(self):
        with Daemon({"app.lua": APP}) as daemon:
            headers = daemon.get("/open", headers={"Origin": "http://localhost:8501"}).headers
            self.assertFalse([name for name in headers if name.startswith("access-control")])

    def test_any(self):
        with Daemon({"app.lua": APP}, ["--cors-origins", "*"]) as daemon:
            headers = daemon.get("/open", headers={"Origin": "http://x"}).headers
            self.assertEqual(headers["access-control-allow-origin"], "*")
            self.assertNotIn("access-control-allow-credentials", headers)


class Places(unittest.TestCase):
    def test_full_house_refuses_but_stays_healthy(self):
        """16 threads leave 8 places for scripts; health and admin routes have their own."""
        with Daemon({"app.lua": APP}, ["--http-threads", "16"]) as daemon:
            statuses, lock = [], threading.Lock()

            def nap():
                try:
                    answer = daemon.get("/nap")
                    status = answer.status
                    if status == 503 and "retry-after" not in answer.headers:
                        status = 0
                except (OSError, http.client.HTTPException):
                    status = -1
                with lock:
                    statuses.append(status)

            threads = [threading.Thread(target=nap) for _ in range(12)]
            for thread in threads:
                thread.start()
            while not statuses:  # the refused ones come first
                time.sleep(0.01)
            self.assertEqual(daemon.get("/health").status, 200)
            self.assertEqual(daemon.get("/admin").status, 200)
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(statuses), [200] * 8 + [503] * 4)
            self.assertEqual(daemon.get("/open").status, 200)


    def test_admin_requests_leave_room_for_health(self):
        """One profile at a time, two built-in admin requests; the others are told at once."""
        with Daemon({"app.lua": APP}) as daemon:
            statuses = []

            def profile():
                statuses.append(daemon.get("/admin/profile?seconds=2").status)

            threads = [threading.Thread(target=profile) for _ in range(80)]
            for thread in threads:
                thread.start()
            self.assertEqual(daemon.get("/health").status, 200)
            self.assertEqual(daemon.get("/open").status, 200)
            for thread in threads:
                thread.join()
            self.assertIn(200, statuses)
            self.assertLessEqual(set(statuses), {200, 409, 503})
            self.assertGreaterEqual(len(statuses) - statuses.count(200), 70)
            self.assertEqual(daemon.get("/admin/profile?seconds=1").status, 200)

    def test_idle_clients_make_room(self):
        """More kept-alive connections than threads are all kept; beyond the limit of connections
        the one that has been idle for longest goes."""
        flags = ["--http-threads", "16", "--connections-max", "50"]
        with Daemon({"app.lua": APP}, flags) as daemon:
            clients = [daemon.connect() for _ in range(60)]
            answers = [daemon.get("/open", connection=client) for client in clients]
            self.assertEqual({answer.status for answer in answers}, {200})
            kept = [answer.headers["connection"] for answer in answers].count("keep-alive")
            self.assertEqual(kept, 60)
            self.assertEqual(daemon.get("/health").status, 200)
            with self.assertRaises((OSError, http.client.HTTPException)):
                daemon.get("/open", connection=clients[0])
            self.assertEqual(daemon.get("/open", connection=clients[59]).status, 200)
            for client in clients:
                client.close()

    def test_bytes_in_flight_are_bounded(self):
        """Bodies and answers of all requests share one cap."""
        with Daemon({"app.lua": APP}, ["--http-bytes-max", "300000"]) as daemon:
            self.assertEqual(daemon.post("/size", b"x" * 200000).json(), {"bytes": 200000})
            refused = daemon.post("/size", b"x" * 400000)
            self.assertEqual((refused.status, refused.json()["code"]), (503, "UNAVAILABLE"))
            self.assertEqual(daemon.get("/large").status, 503)
            # The bytes of a request come back a moment after its answer was read.
            statuses = []
            while 200 not in statuses and len(statuses) < 100:
                time.sleep(0.05 if statuses else 0)
                statuses.append(daemon.post("/size", b"x" * 200000).status)
            self.assertIn(200, statuses)


if __name__ == "__main__":
    unittest.main()
