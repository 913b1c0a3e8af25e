"""Clients that mean harm, or behave as if: each gets the right answer or the door, a second
client is served right all the while, and at the end the process holds no more memory than before.

One daemon serves all cases. A bystander asks for /hello and /health from other connections while a
case runs. Nothing here depends on how fast the machine is: limits are generous; what is asserted is
the answer, the end of the connection, and what the daemon says of itself.
"""
import contextlib
import gzip
import http.client
import os
import re
import select
import socket
import struct
import threading
import time
import unittest

from daemon import Daemon, receive_all, status_of

APP = """
local md = require "moondial"
return md.app {
    name = "probe", version = "1",
    routes = {
        md.get("/hello", function() return { hello = true } end),
        md.get("/name/{name}", function(request) return { name = request.path.name } end),
        md.get("/query", function(request) return request.query end),
        md.get("/seen", function(request)
            return { remote = request.remote, forwarded = request.headers["x-forwarded-for"] }
        end),
        md.get("/big", function()
            return md.dict "big":fetch("x", "1", function()
                return md.json.blob(("x"):rep(30e6))
            end)
        end),
        md.post("/size", { body_bytes_max = 1e6 }, function(request)
            return { bytes = #request.body }
        end),
        md.get("/limited", { rate_per_min = 2 }, function() return {} end),
        md.get("/admin", { admin = true }, function() return { admin = true } end),
    },
}
"""
FLAGS = ["--request-timeout-ms", "3000", "--connections-max", "3000", "--rate-limit-loopback",
         "--http-bytes-max", "100000000"]
GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /size HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = b'{"hello":true}'
# AddressSanitizer keeps freed memory for a while.
RSS_GROWTH_BYTES_MAX = 600e6 if "san/" in os.environ.get("MOONDIAL", "") else 60e6


class Bystander:
    """A well-behaved client with a connection of its own that asks all the time."""

    def __init__(self, daemon):
        self.daemon, self.ending, self.problems, self.count = daemon, False, [], 0
        self.slowest_s = 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        kept = self.daemon.connect(60)
        while not self.ending or self.count < 2:
            begin = time.monotonic()
            try:
                for answer in (self.daemon.get("/hello", connection=kept),
                               self.daemon.get("/health")):
                    if answer.status != 200:
                        self.problems.append(f"status {answer.status}: {answer.body[:100]}")
            except (OSError, http.client.HTTPException) as problem:
                self.problems.append(repr(problem))
                kept = self.daemon.connect(60)
            self.count += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
            time.sleep(0.01)
        kept.close()

    def end(self):
        self.ending = True
        self.thread.join()


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon({"app.lua": APP}, FLAGS)
        cls.daemon.start()
        for _ in range(50):
            cls.daemon.get("/hello")
        cls.daemon.get("/big")
        cls.rss = cls.resident()

    @classmethod
    def tearDownClass(cls):
        try:
            for _ in range(100):  # what the last case left is dropped within its time limits
                if cls.resident() - cls.rss < RSS_GROWTH_BYTES_MAX and cls.open() <= 2:
                    break
                time.sleep(0.1)
            grown, left = cls.resident() - cls.rss, cls.open()
            if grown > RSS_GROWTH_BYTES_MAX:
                raise AssertionError(f"resident memory grew by {grown / 1e6:.0f} MB")
            if left > 2:
                raise AssertionError(f"{left} connections are still open")
        finally:
            cls.daemon.__exit__()

    @classmethod
    def resident(cls):
        with open(f"/proc/{cls.daemon.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    @classmethod
    def metric(cls, name):
        text = cls.daemon.get("/metrics").body.decode()
        return sum(float(value) for value in
                   re.findall(r"^" + name + r"(?:\{[^}]*\})? (\S+)$", text, re.M))

    @classmethod
    def open(cls):
        return cls.metric("moondial_http_connections")

    def run(self, result=None):
        bystander = Bystander(self.daemon)
        try:
            super().run(result)
        finally:
            bystander.end()
        if bystander.problems and result is not None:
            problem = AssertionError(f"a bystander was harmed: {bystander.problems[:3]}")
            result.addFailure(self, (AssertionError, problem, None))

    @contextlib.contextmanager
    def client(self, seconds=30, buffer=None):
        client = socket.socket()
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(seconds)
        client.connect(("127.0.0.1", self.daemon.port))
        try:
            yield client
        finally:
            client.close()

    def many(self, count):
        stack = contextlib.ExitStack()
        return stack, [stack.enter_context(self.client()) for _ in range(count)]

    def assert_ends(self, data, *statuses, seconds=20):
        """One answer with one of the statuses (0: none), then the end of the connection."""
        with self.client(seconds) as client:
            try:
                client.sendall(data)
            except OSError:
                pass  # refused before all was sent
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    received += piece
        self.assertIn(status_of(received), statuses, (data[:80], received[:200]))
        self.assertLessEqual(received.count(b"HTTP/1.1 "), 1, received[:300])
        return received

    # ---- framing that two recipients could read differently ----

    def test_smuggling_by_lengths(self):
        smuggled = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
        for head in (b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
                     b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
                     b"Content-Length: 6\r\nContent-Length: 5\r\n",
                     b"Content-Length: 6, 6\r\n", b"Content-Length: 6\r\ncontent-length: 6\r\n",
                     b"Content-Length: 0x6\r\n", b"Content-Length: +6\r\n",
                     b"Content-Length: -1\r\n", b"Content-Length: 6 6\r\n",
                     b"Content-Length:\r\n", b"Content-Length : 6\r\n",
                     b"Content-Length: 99999999999999999999\r\n"):
            self.assert_ends(POST + head + b"\r\n0\r\n\r\nX" + smuggled, 400)

    def test_smuggling_by_encodings(self):
        for value in (b"xchunked", b"chunked, identity", b"identity, chunked", b"gzip, chunked",
                      b"chunked\r\nTransfer-Encoding: x", b"\x0bchunked", b"chunked;q=1", b"",
                      b"\"chunked\""):
            self.assert_ends(POST + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n" + GET,
                             400)
        self.assert_ends(CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n", 400)

    def test_smuggling_by_chunks(self):
        for body in (b"5;\nx\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
                     b"5\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
                     b"-1\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
                     b"5\r\nhello\r\n0\r\n folded\r\n\r\n", b"g\r\n", b"\r\n",
                     b"5;" + b"x" * 5000, b"0\r\nA: " + b"x" * 50000,
                     b"10000000000000005\r\nhello\r\n0\r\n\r\n"):
            self.assert_ends(CHUNKED + body + GET, 400)
        self.assert_ends(CHUNKED + b"FFFFFFFFFFFFFFF\r\nhello", 413)

    def test_smuggling_by_line_ends(self):
        for data in (GET.replace(b"\r\n", b"\n"), GET.replace(b"x\r\n", b"x\n"),
                     b"GET /hello HTTP/1.1\rHost: x\r\n\r\n",
                     b"GET /hello HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
                     b"GET /hello HTTP/1.1\r\n Host: x\r\n\r\n",
                     b"GET /hello HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
                     b"GET /hello HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
                     b"GET /hello HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
                     b"GET /hel\0lo HTTP/1.1\r\nHost: x\r\n\r\n"):
            self.assert_ends(data + GET, 400)

    def test_conflicting_hosts(self):
        for head in (b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n", b"Host a\r\n"):
            self.assert_ends(b"GET /hello HTTP/1.1\r\n" + head + b"\r\n" + GET, 400)

    def test_other_protocols(self):
        for data, statuses in (
                (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 50, (505,)),
                (b"GET /hello\r\n\r\n", (400,)), (b"GET /hello HTTP/0.9\r\n\r\n", (505,)),
                (b"GET /hello HTTP/1.1x\r\n\r\n", (400,)),
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x07" * 500, (400,)),
                (b"\0" * 1000, (400,)), (b"\xff" * 1000, (400,)),
                (b"\x04\x01\0P\0\0\0\1\0", (400,)),
                (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", (400,)), (b"EHLO x\r\n\r\n", (400,))):
            self.assert_ends(data, *statuses)

    def test_odd_targets(self):
        for target, statuses in (
                (b"*", (400,)), (b"hello", (400, 404)), (b"http://evil.example/hello", (200,)),
                (b"http://", (404,)), (b"/name/%00", (400,)), (b"/name/%zz", (400,)),
                (b"/name/%f", (400,)), (b"/name/%2e%2e%2f", (200,)), (b"/../../etc/passwd", (404,)),
                (b"/name/%ff%fe", (200, 400, 500)), (b"/a#b", (400,)), (b"/\xc3\xa4", (400,)),
                (b"//hello", (404,)), (b"/" * 4000, (404, 414)), (b"/" + b"a" * 5000, (414,)),
                (b"/query?" + b"a=b&" * 1500, (414,)), (b"/query?" + b"&" * 3000, (200,)),
                (b"/query?%=%&=&%00=%00", (200,))):
            received = self.assert_ends(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n"
                                        b"Connection: close\r\n\r\n", *statuses)
            self.assertNotIn(b"root:", received)

    def test_odd_methods(self):
        for method, statuses in ((b"TRACE", (405,)), (b"CONNECT", (405,)), (b"get", (405,)),
                                 (b"A" * 1000, (405,)), (b"DELETE", (405,)), (b"GE(T", (400,)),
                                 (b"", (400,))):
            self.assert_ends(method + b" /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                             *statuses)
        # Whatever clients invent must not become labels of metrics.
        self.assertNotIn(b"AAAA", self.daemon.get("/metrics").body)

    # ---- too much ----

    def test_huge_heads(self):
        self.assert_ends(b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40000, 431)
        self.assert_ends(b"GET /" + b"a" * 100000, 431)
        self.assert_ends(b"A" * 200000, 431)
        self.assert_ends(GET[:-2] + b"".join(b"X%d: y\r\n" % i for i in range(5000)) + b"\r\n", 431)
        self.assert_ends(GET[:-2] + b"".join(b"X%d: y\r\n" % i for i in range(70)) + b"\r\n", 431)

    def test_a_head_of_100_mb(self):
        """Nobody reads it to the end: the answer comes early, and then the door."""
        sent = 0
        with self.client() as client:
            with contextlib.suppress(OSError):
                client.sendall(GET[:-2])
                while sent < 100e6:
                    client.sendall(b"X-Filler: " + b"a" * 65526)
                    sent += 65536
        self.assertLess(self.resident() - self.rss, RSS_GROWTH_BYTES_MAX)

    def test_huge_bodies(self):
        self.assert_ends(POST + b"Content-Length: 1000001\r\n\r\n", 413)
        self.assert_ends(POST + b"Content-Length: 999999999999999999\r\n\r\nabc", 413)
        self.assert_ends(CHUNKED + b"f4241\r\n" + b"a" * 1000001, 413)
        self.assert_ends(CHUNKED + b"1\r\na\r\n" * 1000001, 413)

    def test_promised_bodies_share_a_cap(self):
        """200 clients promise 1 MB each, of which 100 MB may be in memory; the rest is refused."""
        stack, clients = self.many(200)
        with stack:
            statuses = []
            for client in clients:
                client.sendall(POST + b"Content-Length: 1000000\r\n\r\n" + b"a" * 1000)
            for client in clients:
                statuses.append(status_of(receive_all(client)))
        self.assertEqual(set(statuses), {408, 503})
        self.assertGreaterEqual(statuses.count(503), 95)
        self.assertEqual(self.daemon.post("/size", b"a" * 1000000).json(), {"bytes": 1000000})

    def test_compressed_bombs(self):
        bomb = gzip.compress(b"\0" * 10000000)
        for coding in (b"gzip", b"deflate", b"br", b"GZIP", b"gzip, identity", b"x"):
            self.assert_ends(POST + b"Content-Encoding: " + coding
                             + b"\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb, 415)

    def test_strange_expectations_and_ranges(self):
        self.assert_ends(POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417)
        for value in (b"bytes=0-0", b"bytes=" + b"0-1," * 1000, b"bytes=-1", b"lines=1-"):
            answer = self.assert_ends(GET[:-2] + b"Range: " + value
                                      + b"\r\nConnection: close\r\n\r\n", 200)
            self.assertTrue(answer.endswith(HELLO))

    def test_very_many_pipelined_requests(self):
        count = 20000
        with self.client(60) as client:
            received = [b""]

            def read():
                while received[0].count(HELLO, -200000) >= 0:
                    piece = client.recv(1 << 20)
                    received.append(piece)
                    if not piece:
                        return

            reader = threading.Thread(target=read)
            reader.start()
            for _ in range(count // 100):
                client.sendall(GET * 100)
            client.shutdown(socket.SHUT_WR)
            reader.join()
        self.assertEqual(b"".join(received).count(HELLO), count)

    def test_pipelining_without_reading(self):
        """Answers that nobody takes hold back the requests behind them."""
        with self.client(buffer=4096) as client:
            client.settimeout(0.5)
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 300e6:
                    client.sendall(GET * 1000)
                    sent += len(GET) * 1000
            self.assertLess(sent, 300e6)
        self.assertLess(self.resident() - self.rss, RSS_GROWTH_BYTES_MAX)

    # ---- too slow ----

    def assert_cut(self, client, send, seconds=60):
        """The daemon ends the connection although `send` goes on."""
        client.settimeout(0.2)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                client.sendall(send)
                if select.select([client], [], [], 0.2)[0] and not client.recv(65536):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
        self.fail("the connection was never cut")

    def test_slow_heads(self):
        stack, clients = self.many(50)
        with stack:
            for client in clients:
                client.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nX: ")
            self.assert_cut(clients[0], b"a")
            for client in clients[1:]:
                self.assertIn(status_of(receive_all(client)), (0, 408))

    def test_slow_bodies(self):
        for head in (POST + b"Content-Length: 100000\r\n\r\n", CHUNKED + b"ffff\r\n", CHUNKED):
            with self.client() as client:
                client.sendall(head)
                self.assert_cut(client, b"1" if head is CHUNKED else b"a")

    def test_slow_readers(self):
        """Each has a large answer to take: they cost no threads, and are cut."""
        before = self.metric("moondial_http_connections_cut_total")
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(self.client(buffer=4096)) for _ in range(8)]
            for client in clients:
                client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            end = time.monotonic() + 60
            while (self.metric("moondial_http_connections_cut_total") == before
                   and time.monotonic() < end):
                time.sleep(0.2)
        self.assertGreater(self.metric("moondial_http_connections_cut_total"), before)

    def test_thousands_of_idle_connections(self):
        stack, clients = self.many(2000)
        with stack:
            self.assertGreaterEqual(self.open(), 2000)
            slowest = 0
            for _ in range(50):
                for path in ("/health", "/hello"):
                    begin = time.monotonic()
                    self.assertEqual(self.daemon.get(path).status, 200)
                    slowest = max(slowest, time.monotonic() - begin)
            grown = self.resident() - self.rss
            print(f"2000 idle: slowest answer {slowest * 1e3:.1f} ms, {grown / 1e6:.1f} MB more ",
                  end="", flush=True)
            self.assertLess(grown, RSS_GROWTH_BYTES_MAX)
            clients[0].sendall(GET)  # they are connections like any other
            self.assertIn(b"200 OK", clients[0].recv(1000))

    def test_more_connections_than_places(self):
        """The oldest idle ones make room; who has something to say is heard."""
        stack, clients = self.many(3300)
        with stack:
            self.assertLessEqual(self.open(), 3000)
            clients[-1].sendall(GET)
            self.assertIn(b"200 OK", clients[-1].recv(1000))
            self.assertEqual(clients[0].recv(1), b"")

    def test_many_half_said_heads(self):
        stack, clients = self.many(1000)
        with stack:
            for client in clients:
                client.sendall(GET[:-2] + b"X: " + b"a" * 20000)
            self.assertEqual(self.daemon.get("/hello").status, 200)
            for client in clients[:50]:
                client.sendall(b"\r\n\r\n")
                self.assertIn(b"200 OK", client.recv(1000))

    # ---- going away ----

    def test_half_closed(self):
        for data, count in ((GET, 1), (GET * 3, 3), (GET[:10], 0),
                            (POST + b"Content-Length: 3\r\n\r\nabc", 1)):
            with self.client() as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(receive_all(client).count(b"200 OK"), count)
        for data in (POST + b"Content-Length: 30\r\n\r\nabc", CHUNKED + b"20\r\nabc"):
            with self.client() as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(status_of(receive_all(client)), 400)

    def test_resets(self):
        for data in (b"", GET[:20], GET, POST + b"Content-Length: 1000\r\n\r\nabc",
                     CHUNKED + b"5\r\n", b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n") * 20:
            with self.client() as client:
                client.sendall(data)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def test_connecting_and_leaving(self):
        for _ in range(2000):
            with self.client():
                pass

    # ---- pretending ----

    def test_forwarding_headers_are_not_believed(self):
        spoof = {"X-Forwarded-For": "10.1.2.3", "X-Real-IP": "10.1.2.3",
                 "Forwarded": "for=10.1.2.3"}
        self.assertEqual(self.daemon.get("/seen", headers=spoof).json(),
                         {"remote": "127.0.0.1", "forwarded": "10.1.2.3"})
        statuses = [self.daemon.get("/limited", headers={"X-Forwarded-For": f"10.0.0.{i}"}).status
                    for i in range(6)]
        self.assertEqual(statuses, [200] * 2 + [429] * 4)

    def test_splitting_answers(self):
        """What comes back from a client's text never starts a header of ours."""
        received = self.daemon.raw(b"GET /name/%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\n"
                                   b"Origin: http://e\x01vil\r\nConnection: close\r\n\r\n")
        self.assertEqual(status_of(received), 400)
        received = self.daemon.raw(b"GET /name/%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\n"
                                   b"Connection: close\r\n\r\n")
        self.assertNotIn(b"x-evil", received.split(b"\r\n\r\n")[0].lower())


if __name__ == "__main__":
    unittest.main()
