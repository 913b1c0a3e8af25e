"""Event streams: framing, waiting, places, and every way in which one ends."""
import json
import signal
import socket
import threading
import time
import unittest

from daemon import Daemon, receive_all, status_of

APP = """
local md = require "moondial"
local log = md.dict "log"
local function note(what, ok, err)
    log:set(what, { ok = ok or false, code = err and err.code or "none" })
end
return md.app {
    name = "probe", version = "1",
    routes = {
        md.get("/count", { key = false }, function(request)
            return md.stream(function(stream)
                for n = 1, tonumber(request.query.n or "3") do
                    assert(stream:send { event = "n", id = tostring(n), data = { n = n } })
                    md.sleep(tonumber(request.query.s or "0"))
                end
            end), { ["X-Kind"] = "count" }
        end),
        md.get("/shapes", { key = false }, function()
            return md.stream(function(stream)
                stream:send "plain"
                stream:send "two\\nlines"
                stream:send { data = "a\\r\\nb\\rc\\n" }
                stream:send { data = 7, retry_ms = 250 }
                stream:send { event = "empty" }
                stream:send { data = { 1, 2, 3 } }
                local ok = pcall(stream.send, stream, { event = "two\\nlines" })
                stream:send { data = { refused = not ok } }
                ok = pcall(stream.send, stream, { id = {} })
                stream:send { data = { refused = not ok, closed = stream:closed() } }
            end)
        end),
        md.get("/forever", { key = false }, function(request)
            return md.stream(function(stream)
                local ok, err = true, nil
                while ok do
                    stream:send { data = "x" }
                    ok, err = md.sleep(tonumber(request.query.s or "0.05"))
                end
                note("forever", ok, err)
            end, { keep_alive_s = tonumber(request.query.alive or "15") })
        end),
        md.get("/stubborn", { key = false }, function()
            return md.stream(function(stream)
                while true do stream:send "again" md.sleep(0.02) end
            end)
        end),
        md.get("/flood", { key = false }, function()
            return md.stream(function(stream)
                local text, ok, err = ("x"):rep(1e6), true, nil
                while ok do ok, err = stream:send(text) end
                note("flood", ok, err)
            end)
        end),
        md.get("/broken", { key = false }, function()
            return md.stream(function(stream)
                stream:send "one"
                error("not again")
            end)
        end),
        md.get("/spin", { key = false }, function()
            return md.stream(function(stream)
                stream:send "one"
                while true do end
            end)
        end),
        md.get("/kept", { key = false }, function()
            return md.stream(function(stream)
                log:set("kept", "before")
                _ = stream
            end)
        end),
        md.get("/wrong", { key = false }, function() return md.stream(7) end),
        md.get("/note/{what}", { key = false }, function(request)
            return log:get(request.path.what) or 404, {}
        end),
        md.get("/plain", { key = false }, function() return { plain = true } end),
    },
}
"""

FILES = {"app.lua": APP, "config.lua": "return { handler_budget_ms = 300, states = 2 }"}


def events_of(text):
    """What a browser's EventSource would make of it: (event, id, data) for each with data."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        event, identity, data = "message", None, []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "event":
                event = value
            elif name == "id":
                identity = value
            elif name == "data":
                data.append(value)
        if data:
            found.append((event, identity, "\n".join(data)))
    return found


class Client:
    """One open stream."""

    def __init__(self, daemon, path):
        self.connection = daemon.connect()
        self.connection.request("GET", path)
        self.response = self.connection.getresponse()

    def line(self):
        return self.response.readline().decode()

    def close(self):
        # The response holds the socket too; the kernel closes it when both have gone.
        self.response.close()
        self.connection.close()


class Streams(unittest.TestCase):
    def wait_for(self, question, seconds=20):
        for _ in range(seconds * 50):
            answer = question()
            if answer:
                return answer
            time.sleep(0.02)
        raise AssertionError("it did not come")

    def note(self, daemon, what):
        def look():
            answer = daemon.get("/note/" + what)
            return answer.json() if answer.status == 200 else None
        return self.wait_for(look)

    def open_streams(self, daemon):
        for line in daemon.get("/metrics").body.decode().splitlines():
            if line.startswith("moondial_http_streams "):
                return float(line.split()[1])
        return None

    def test_events_arrive_in_order(self):
        with Daemon(FILES) as daemon:
            answer = daemon.get("/count?n=5")
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.headers["content-type"].startswith("text/event-stream"))
            self.assertEqual(answer.headers["x-kind"], "count")
            self.assertIn("no-cache", answer.headers["cache-control"])
            self.assertEqual(events_of(answer.body.decode()),
                             [("n", str(n), json.dumps({"n": n}).replace(" ", ""))
                              for n in range(1, 6)])
            self.assertEqual(daemon.get("/plain").status, 200)

    def test_an_event_does_not_wait_for_the_next(self):
        with Daemon(FILES) as daemon:
            client = Client(daemon, "/count?n=2&s=3600")
            self.assertEqual([client.line() for _ in range(4)],
                             ["event: n\n", "id: 1\n", 'data: {"n":1}\n', "\n"])
            client.close()

    def test_shapes_of_data(self):
        with Daemon(FILES) as daemon:
            text = daemon.get("/shapes").body.decode()
            self.assertEqual([data for _, _, data in events_of(text)],
                             ["plain", "two\nlines", "a\nb\nc\n", "7", "[1,2,3]",
                              '{"refused":true}', '{"closed":false,"refused":true}'])
            self.assertIn("retry: 250\n", text)
            self.assertIn("event: empty\n\n", text)

    def test_http_1_0_and_head(self):
        with Daemon(FILES) as daemon:
            old = daemon.raw(b"GET /count?n=2 HTTP/1.0\r\n\r\n")
            self.assertEqual(status_of(old), 200)
            self.assertNotIn(b"chunked", old)
            self.assertEqual(len(events_of(old.split(b"\r\n\r\n", 1)[1].decode())), 2)
            head = daemon.raw(b"HEAD /count HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(status_of(head), 200)
            self.assertTrue(head.endswith(b"\r\n\r\n"))

    def test_states_are_free_meanwhile(self):
        """More streams than Lua states, and other requests besides."""
        with Daemon(FILES) as daemon:
            clients = [Client(daemon, "/forever?s=0.2") for _ in range(6)]
            for client in clients:
                self.assertEqual(client.line(), "data: x\n")
            self.assertEqual({daemon.get("/plain").status for _ in range(20)}, {200})
            self.assertEqual(self.open_streams(daemon), 6)
            for client in clients:
                client.close()
            self.wait_for(lambda: self.open_streams(daemon) == 0)

    def test_places(self):
        """Half of 16 threads; a place that becomes free is given again."""
        with Daemon(FILES, ["--http-threads", "16"]) as daemon:
            clients = [Client(daemon, "/forever") for _ in range(8)]
            for client in clients:
                self.assertEqual(client.response.status, 200)
                client.line()
            refused = daemon.get("/count")
            self.assertEqual((refused.status, refused.json()["code"]), (503, "UNAVAILABLE"))
            self.assertEqual(daemon.get("/health").status, 200)
            clients.pop().close()
            self.wait_for(lambda: daemon.get("/count").status == 200)
            for client in clients:
                client.close()

    def test_the_function_learns_that_its_client_has_gone(self):
        with Daemon(FILES) as daemon:
            client = Client(daemon, "/forever")
            client.line()
            client.close()
            self.assertEqual(self.note(daemon, "forever"), {"ok": False, "code": "CANCELLED"})

    def test_comments_find_the_silent_dead(self):
        with Daemon(FILES) as daemon:
            client = Client(daemon, "/forever?s=3600&alive=0.1")
            self.assertEqual([client.line() for _ in range(4)], ["data: x\n", "\n", ":\n", "\n"])
            client.close()
            self.assertEqual(self.note(daemon, "forever"), {"ok": False, "code": "CANCELLED"})

    def test_a_client_that_does_not_read_is_cut(self):
        with Daemon(FILES) as daemon:
            with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
                connection.sendall(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(daemon.get("/plain").status, 200)
                self.assertEqual(self.note(daemon, "flood"), {"ok": False, "code": "CANCELLED"})

    def test_draining_closes_streams(self):
        with Daemon(FILES) as daemon:
            client = Client(daemon, "/forever?s=3600")
            self.assertEqual(client.line(), "data: x\n")
            begin = time.monotonic()
            stopper = threading.Thread(target=daemon.stop)
            stopper.start()
            self.assertEqual(client.response.read(), b"\n")  # a proper end, not a cut
            stopper.join()
            self.assertLess(time.monotonic() - begin, 20)
            client.close()

    def test_stubborn_functions_end_all_the_same(self):
        with Daemon(FILES) as daemon:
            client = Client(daemon, "/stubborn")
            client.line()
            client.close()
            self.wait_for(lambda: self.open_streams(daemon) == 0)
            self.assertEqual(daemon.get("/plain").status, 200)
            daemon.wait_log("its function must return")

    def test_mistakes(self):
        with Daemon(FILES) as daemon:
            for path, part in (("/broken", "not again"), ("/spin", "budget")):
                with self.subTest(path):
                    answer = daemon.get(path)
                    self.assertEqual(answer.status, 200)
                    events = events_of(answer.body.decode())
                    self.assertEqual([event for event, _, _ in events], ["message", "error"])
                    self.assertNotIn(part, answer.body.decode())
                    daemon.wait_log(part)
            self.assertEqual(daemon.get("/wrong").status, 500)
            self.assertEqual(daemon.get("/plain").status, 200)
            self.assertEqual(self.open_streams(daemon), 0)

    def test_many_short_ones(self):
        with Daemon(FILES) as daemon:
            for _ in range(200):
                self.assertEqual(len(events_of(daemon.get("/count").body.decode())), 3)
            self.assertEqual(daemon.stop(signal.SIGTERM), 0)


if __name__ == "__main__":
    unittest.main()
