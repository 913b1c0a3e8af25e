"""The routes that need no script: health, readiness, metrics, the description of the API."""
import gzip
import math
import re
import time
import unittest

from daemon import Daemon

APP = """
local md = require "moondial"
return md.app {
    name = "probe", version = "1",
    health = { service = "tft_inference_daemon", running = true },
    routes = {
        md.get("/explain/{server}/{metric}", { key = true, summary = "Why" },
               function() return {} end),
        md.post("/feed", { summary = "Takes records" }, function() return {} end),
        md.get("/fail", function() error("no") end),
    },
    on_start = function() md.sleep(1) end,
}
"""
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def parse_labels(text):
    labels, at = [], 0
    while text and at < len(text):
        match = LABEL.match(text, at)
        assert match, f"bad labels: {text}"
        labels.append(match.groups())
        at = match.end()
    return tuple(labels)


def parse_metrics(text):
    """{family: (type, {(sample name, labels): value})}; fails on anything the format forbids."""
    assert text.endswith("\n") and "\r" not in text
    families, current, typed = {}, None, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            current = line.split(" ", 3)[2]
            assert current not in families, f"{current} appears twice"
            families[current] = [None, {}]
        elif line.startswith("# TYPE "):
            _, _, name, typed = line.split(" ")
            assert name == current and typed in ("counter", "gauge", "histogram"), line
            families[name][0] = typed
        else:
            match = SAMPLE.match(line)
            assert match, f"bad line: {line}"
            name, labels, value = match.groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name) if typed == "histogram" else name
            assert base == current, f"{name} stands under {current}"
            key = (name, parse_labels(labels))
            assert key not in families[current][1], f"{line} appears twice"
            families[current][1][key] = float(value.replace("Inf", "inf"))
    return families


def check_histogram(test, samples):
    series = {}
    for (name, labels), value in samples.items():
        rest = tuple(label for label in labels if label[0] != "le")
        series.setdefault(rest, {"buckets": []})
        if name.endswith("_bucket"):
            bound = dict(labels)["le"]
            series[rest]["buckets"].append((math.inf if bound == "+Inf" else float(bound), value))
        else:
            series[rest][name.rsplit("_", 1)[1]] = value
    for labels, one in series.items():
        bounds = [bound for bound, _ in one["buckets"]]
        counts = [count for _, count in one["buckets"]]
        test.assertEqual(bounds, sorted(bounds), labels)
        test.assertEqual(counts, sorted(counts), labels)
        test.assertEqual(bounds[-1], math.inf, labels)
        test.assertEqual(counts[-1], one["count"], labels)
        test.assertIn("sum", one)


class Builtin(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon({"app.lua": APP}, ["--api-key", "secret-secret"])
        cls.daemon.start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()

    def test_health(self):
        health = self.daemon.get("/health").json()
        self.assertEqual((health["status"], health["service"], health["running"]),
                         ("healthy", "tft_inference_daemon", True))
        self.assertIsInstance(health["degraded"], list)

    def test_ready_once_started(self):
        with Daemon({"app.lua": APP}) as daemon:
            early = daemon.get("/ready")
            self.assertEqual((early.status, early.json()["reason"]), (503, "starting"))
            self.assertEqual(daemon.get("/health").status, 200)
            daemon.wait_ready()
            self.assertEqual(daemon.get("/ready").json(), {"ready": True})

    def test_only_get(self):
        for path in ("/health", "/ready", "/metrics", "/openapi.json"):
            answer = self.daemon.post(path, "")
            self.assertEqual(answer.status, 405)
            self.assertIn("GET", answer.headers["allow"])
            self.assertEqual(self.daemon.request("OPTIONS", path).status, 204)

    def test_metrics_follow_the_format(self):
        self.daemon.get("/nope?with=\"quotes\"")
        self.daemon.get("/fail", headers={"X-API-Key": "secret-secret"})
        for _ in range(100):  # a request is counted just after its answer was sent
            answer = self.daemon.get("/metrics")
            if b'route="/fail"' in answer.body:
                break
            time.sleep(0.01)
        self.assertTrue(answer.headers["content-type"].startswith("text/plain; version=0.0.4"))
        families = parse_metrics(answer.body.decode())
        for name, (kind, samples) in families.items():
            self.assertIsNotNone(kind, name)
            if kind == "histogram":
                check_histogram(self, samples)
            if kind == "counter":
                self.assertTrue(name.endswith("_total"), name)
        requests = families["moondial_http_requests_total"][1]
        routes = {dict(labels)["route"] for _, labels in requests}
        self.assertIn("/fail", routes)
        self.assertIn("other", routes)
        self.assertFalse([route for route in routes if "nope" in route])
        resident = families["process_resident_memory_bytes"][1]
        self.assertGreater(next(iter(resident.values())), 1e6)

    def test_metrics_count(self):
        def count():
            families = parse_metrics(self.daemon.get("/metrics").body.decode())
            samples = families["moondial_http_requests_total"][1]
            return sum(value for (_, labels), value in samples.items()
                       if dict(labels)["route"] == "/feed" and dict(labels)["code"] == "403")

        before = count()
        for _ in range(3):
            self.daemon.post("/feed", "")
        for _ in range(100):  # the last one is counted just after its answer was sent
            if count() == before + 3:
                break
            time.sleep(0.01)
        self.assertEqual(count(), before + 3)

    def test_metrics_as_json_and_packed(self):
        answer = self.daemon.get("/metrics", headers={"Accept": "application/json"})
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertTrue(answer.json())
        packed = self.daemon.get("/metrics", headers={"Accept-Encoding": "gzip"})
        parse_metrics(gzip.decompress(packed.body).decode())

    def test_log_level(self):
        key = {"X-API-Key": "secret-secret"}
        self.assertEqual(self.daemon.get("/admin/log-level").status, 403)
        self.assertEqual(self.daemon.get("/admin/log-level", headers=key).json(), {"level": "info"})
        for query, status in (("?level=debug", 200), ("?level=d%65bug", 200), ("", 400),
                              ("?level=loud", 400), ("?level=%zz", 400), ("?level=info", 200)):
            answer = self.daemon.post("/admin/log-level" + query, "", headers=key)
            self.assertEqual(answer.status, status, query)
        self.assertEqual(self.daemon.get("/admin/log-level", headers=key).json(), {"level": "info"})
        refused = self.daemon.request("DELETE", "/admin/log-level")
        self.assertEqual((refused.status, refused.headers["allow"]), (405, "GET, HEAD, POST"))

    def test_openapi(self):
        api = self.daemon.get("/openapi.json").json()
        self.assertTrue(api["openapi"].startswith("3.0."))
        self.assertTrue(api["info"]["title"] and api["info"]["version"])
        paths = api["paths"]
        self.assertIn("security", paths["/admin/log-level"]["post"])
        self.assertEqual({path for path in paths if not path.startswith("/admin/")},
                         {"/health", "/ready", "/metrics", "/openapi.json", "/feed", "/fail",
                          "/explain/{server}/{metric}"})
        explain = paths["/explain/{server}/{metric}"]["get"]
        self.assertEqual(explain["summary"], "Why")
        self.assertEqual([(p["name"], p["in"], p["required"]) for p in explain["parameters"]],
                         [("server", "path", True), ("metric", "path", True)])
        self.assertEqual(explain["security"], [{"ApiKey": []}])
        self.assertIn("requestBody", paths["/feed"]["post"])
        self.assertNotIn("security", paths["/health"]["get"])
        scheme = api["components"]["securitySchemes"]["ApiKey"]
        self.assertEqual(scheme, {"type": "apiKey", "in": "header", "name": "X-API-Key"})
        for path in paths.values():
            for operation in path.values():
                error = operation["responses"]["default"]["content"]["application/json"]["schema"]
                name = error["$ref"].rsplit("/", 1)[1]
                self.assertIn(name, api["components"]["schemas"])


if __name__ == "__main__":
    unittest.main()
