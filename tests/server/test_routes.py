"""What routes answer: bodies, statuses, errors, methods, parameters."""
import gzip
import http.client
import json
import threading
import unittest

from daemon import Daemon

APP = """
local md = require "moondial"
local greeting = require "greeting"
local function nest(levels)
    return (("x"):gsub("x", function()
        return levels > 0 and nest(levels - 1) or "y"
    end))
end
local function spiral()
    return coroutine.wrap(spiral)()
end
return md.app {
    name = "probe",
    version = "1.2",
    health = { service = "probe_service", running = true },
    routes = {
        md.get("/hello/{name}", { summary = "Greets one" }, function(request)
            return { greeting = greeting, name = request.path.name, n = request.query.n }
        end),
        md.post("/hello/{name}", function(request)
            return 201, { bytes = #request.body, seen = request.headers["x-seen"] }
        end),
        md.put("/json", function(request)
            local value, err = request:json()
            if not value then return md.fail(err) end
            return { got = value }
        end),
        md.get("/text", function() return "plain words" end),
        md.get("/nothing", function() return nil end),
        md.get("/teapot", function()
            return 418, { short = true }, { ["X-Kind"] = "teapot" }
        end),
        md.get("/nest", function(request) return { text = nest(tonumber(request.query.n)) } end),
        md.get("/spiral", spiral),
        md.get("/boom", function() error("boom at work") end),
        md.get("/forever", function() while true do end end),
        md.get("/large", function() return { text = ("abcdefgh"):rep(20000) } end),
    },
}
"""

FILES = {"app.lua": APP, "greeting.lua": "return 'good day'",
         "config.lua": "return { handler_budget_ms = 300 }"}

# name, method, path, body, expected status, expected part of the JSON answer
TABLE = [
    ("parameters", "GET", "/hello/ann?n=3", None, 200,
     {"greeting": "good day", "name": "ann", "n": "3"}),
    ("escapes", "GET", "/hello/a%20b%2Fc", None, 200, {"name": "a b/c"}),
    ("plus is a space in queries", "GET", "/hello/x?n=a+b%2B", None, 200, {"n": "a b+"}),
    ("body", "POST", "/hello/ann", "12345", 201, {"bytes": 5}),
    ("empty body", "POST", "/hello/ann", "", 201, {"bytes": 0}),
    ("json", "PUT", "/json", '{"a":[1,2.5,"x",null,true]}', 200, None),
    ("bad json", "PUT", "/json", '{"a":', 400, {"code": "INVALID_ARGUMENT"}),
    ("unknown route", "GET", "/nope", None, 404, {"code": "NOT_FOUND"}),
    ("unknown below a known one", "GET", "/hello/a/b", None, 404, {"code": "NOT_FOUND"}),
    ("trailing slash is another path", "GET", "/text/", None, 404, {"code": "NOT_FOUND"}),
    ("wrong method", "DELETE", "/text", None, 405, {"code": "METHOD_NOT_ALLOWED"}),
    ("script's own status", "GET", "/teapot", None, 418, {"short": True}),
    ("nested callbacks", "GET", "/nest?n=100", None, 200, {"text": "y"}),
    ("endless coroutines", "GET", "/spiral", None, 500, {"code": "SCRIPT_ERROR"}),
    ("endless callbacks", "GET", "/nest?n=1000000", None, 500, {"code": "SCRIPT_ERROR"}),
    ("script error", "GET", "/boom", None, 500,
     {"code": "SCRIPT_ERROR", "detail": "script error in GET /boom"}),
    ("NUL in the path", "GET", "/hello/a%00b", None, 400, {"code": "INVALID_ARGUMENT"}),
    ("broken escape", "GET", "/hello/a%2", None, 400, {"code": "INVALID_ARGUMENT"}),
    ("broken escape 2", "GET", "/hello/%zz", None, 400, {"code": "INVALID_ARGUMENT"}),
    ("dots leave nothing", "GET", "/hello/../text", None, 404, {"code": "NOT_FOUND"}),
    ("escaped dots are a value", "GET", "/hello/%2e%2e", None, 200, {"name": ".."}),
    ("long URL", "GET", "/hello/" + "a" * 5000, None, 414, {"code": "TOO_LARGE"}),
    ("long query", "GET", "/hello/a?n=" + "a" * 5000, None, 414, {"code": "TOO_LARGE"}),
]


class Routes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(FILES)
        cls.daemon.start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()

    def test_table(self):
        for name, method, path, body, status, part in TABLE:
            with self.subTest(name):
                answer = self.daemon.request(method, path, body=body)
                self.assertEqual(answer.status, status, answer.body)
                self.assertEqual(answer.headers["content-type"], "application/json")
                if part is not None:
                    got = answer.json()
                    self.assertEqual(got, {**got, **part})
                if status >= 400 and status != 418:
                    self.assertTrue(answer.json()["detail"])

    def test_json_goes_through_unchanged(self):
        value = {"a": [1, 2.5, "x", None, True], "b": {"c": "\u00fc\u20ac"}, "d": 1e-7}
        answer = self.daemon.request("PUT", "/json", body=json.dumps(value))
        self.assertEqual(answer.json(), {"got": value})

    def test_text_and_nothing(self):
        text, nothing = self.daemon.get("/text"), self.daemon.get("/nothing")
        self.assertEqual((text.status, text.body), (200, b"plain words"))
        self.assertTrue(text.headers["content-type"].startswith("text/plain"))
        self.assertEqual((nothing.status, nothing.body), (204, b""))
        self.assertNotIn("content-length", nothing.headers)

    def test_script_headers_are_sent(self):
        self.assertEqual(self.daemon.get("/teapot").headers["x-kind"], "teapot")

    def test_request_headers_reach_the_script(self):
        answer = self.daemon.post("/hello/x", "b", headers={"X-SEEN": "yes"})
        self.assertEqual(answer.json(), {"bytes": 1, "seen": "yes"})

    def test_wrong_method_names_the_right_ones(self):
        allow = self.daemon.request("DELETE", "/hello/x").headers["allow"]
        self.assertEqual(sorted(allow.split(", ")), ["GET", "POST"])

    def test_unknown_method(self):
        answer = self.daemon.request("BREW", "/text")
        self.assertEqual(answer.status, 405)
        self.assertEqual(answer.json()["code"], "METHOD_NOT_ALLOWED")

    def test_options_lists_methods(self):
        answer = self.daemon.request("OPTIONS", "/hello/x")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertIn("GET", answer.headers["allow"])
        self.assertIn("POST", answer.headers["allow"])
        self.assertEqual(self.daemon.request("OPTIONS", "/nope").status, 404)

    def test_head_is_get_without_a_body(self):
        get, head = self.daemon.get("/hello/x"), self.daemon.request("HEAD", "/hello/x")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], get.headers["content-length"])
        self.assertEqual(self.daemon.request("HEAD", "/nope").status, 404)
        self.assertEqual(self.daemon.request("HEAD", "/health").status, 200)

    def test_script_error_leaves_the_next_request_alone(self):
        connection = self.daemon.connect()
        for _ in range(3):
            self.assertEqual(self.daemon.get("/boom", connection=connection).status, 500)
            self.assertEqual(self.daemon.get("/text", connection=connection).status, 200)
        connection.close()
        self.assertIn("app.lua:", self.daemon.wait_log("boom at work"))

    def test_runaway_script_costs_only_its_request(self):
        answer = self.daemon.get("/forever")
        self.assertIn(answer.status, (500, 503, 504))
        self.assertTrue(answer.json()["detail"])
        self.assertEqual(self.daemon.get("/text").status, 200)

    def test_compression(self):
        plain = self.daemon.get("/large")
        packed = self.daemon.get("/large", headers={"Accept-Encoding": "deflate, gzip;q=0.5"})
        refused = self.daemon.get("/large", headers={"Accept-Encoding": "gzip;q=0"})
        small = self.daemon.get("/hello/x", headers={"Accept-Encoding": "gzip"})
        self.assertNotIn("content-encoding", plain.headers)
        self.assertEqual(packed.headers["content-encoding"], "gzip")
        self.assertIn("Accept-Encoding", packed.headers["vary"])
        self.assertLess(len(packed.body), len(plain.body) // 10)
        self.assertEqual(gzip.decompress(packed.body), plain.body)
        self.assertNotIn("content-encoding", refused.headers)
        self.assertNotIn("content-encoding", small.headers)

    def test_ids_differ_and_dates_are_dates(self):
        first, second = self.daemon.get("/text"), self.daemon.get("/text")
        self.assertNotEqual(first.headers["x-request-id"], second.headers["x-request-id"])
        self.assertRegex(first.headers["date"], r"^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} .* GMT$")

    def test_keep_alive(self):
        connection = self.daemon.connect()
        for _ in range(20):
            answer = self.daemon.get("/text", connection=connection)
            self.assertEqual(answer.headers["connection"], "keep-alive")
        sock = connection.sock
        self.daemon.get("/text", connection=connection)
        self.assertIs(connection.sock, sock)
        connection.close()

    def test_pipelined_requests_are_answered_in_order(self):
        data = b"".join(b"GET /hello/n%d HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(5))
        received = self.daemon.raw(data, seconds=2)
        names = [received.find(b'"n%d"' % i) for i in range(5)]
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 5)
        self.assertEqual(names, sorted(names))
        self.assertGreater(names[0], 0)

    def test_http_1_0_closes(self):
        received = self.daemon.raw(b"GET /text HTTP/1.0\r\n\r\n")
        self.assertTrue(received.startswith(b"HTTP/1.1 200 OK"))
        self.assertIn(b"Connection: close", received)

    def test_clients_in_parallel(self):
        """32 clients at a time, each with its own answers."""
        problems = []

        def client(number):
            connection = self.daemon.connect()
            try:
                for k in range(20):
                    name = f"c{number}-{k}"
                    answer = self.daemon.get(f"/hello/{name}", connection=connection)
                    if answer.status != 200 or answer.json()["name"] != name:
                        problems.append((name, answer.status, answer.body))
            except (OSError, http.client.HTTPException) as problem:
                problems.append((number, repr(problem)))
            finally:
                connection.close()

        threads = [threading.Thread(target=client, args=(i,)) for i in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])


if __name__ == "__main__":
    unittest.main()
