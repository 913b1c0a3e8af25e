"""Requests that a well-meaning HTTP library never sends: broken, contradicting, cut, slow."""
import json
import socket
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
        md.post("/size", { body_bytes_max = 100000 }, function(request)
            return { bytes = #request.body, body = request.body:sub(1, 30) }
        end),
    },
}
"""

POST = b"POST /size HTTP/1.1\r\nHost: x\r\n"
SECOND = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"

# name, bytes sent, expected status; the connection has to end after each
REFUSED = [
    ("both lengths", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"0\r\n\r\n", 400),
    ("both lengths, other order", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
     b"0\r\n\r\n", 400),
    ("two lengths", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
    ("two equal lengths", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", 400),
    ("length with a sign", POST + b"Content-Length: +5\r\n\r\nabcde", 400),
    ("length with letters", POST + b"Content-Length: 5x\r\n\r\nabcde", 400),
    ("hexadecimal length", POST + b"Content-Length: 0x5\r\n\r\nabcde", 400),
    ("two encodings", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("encoding twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"0\r\n\r\n", 400),
    ("encoded body", POST + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde", 415),
    ("no host", b"GET /hello HTTP/1.1\r\n\r\n", 400),
    ("two hosts", b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("no version", b"GET /hello\r\n\r\n", 400),
    ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
    ("future version", b"GET /hello HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    ("large header", b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40000 + b"\r\n\r\n", 431),
    ("many fields", b"GET /hello HTTP/1.1\r\nHost: x\r\n"
     + b"".join(b"X%d: 1\r\n" % i for i in range(70)) + b"Content-Length: 3\r\n\r\nabc", 431),
    ("body too large", POST + b"Content-Length: 100001\r\n\r\n" + b"a" * 100001, 413),
    ("huge length", POST + b"Content-Length: 99999999999999999\r\n\r\nabc", 413),
    ("length beyond 64 bits", POST + b"Content-Length: 99999999999999999999999\r\n\r\nabc", 400),
    ("chunked too large", POST + b"Transfer-Encoding: chunked\r\n\r\n"
     + b"186a1\r\n" + b"a" * 100001 + b"\r\n0\r\n\r\n", 413),
]


class Protocol(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon({"app.lua": APP}, ["--request-timeout-ms", "2000"])
        cls.daemon.start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()

    def assert_alive(self):
        self.assertEqual(self.daemon.get("/hello").status, 200)

    def test_late_bodies_are_answered_to_their_senders(self):
        """Head and body of a request may meet different threads; answers must not."""
        wrong = []

        def client(name):
            with socket.create_connection(("127.0.0.1", self.daemon.port), 30) as one:
                file = one.makefile("rb")
                for turn in range(150):
                    body = f"{name}-{turn}".encode().ljust(20, b".")
                    one.sendall(POST + b"Content-Length: 20\r\n\r\n")
                    time.sleep(0.0005)
                    one.sendall(body)
                    length = 0
                    while (line := file.readline()).strip():
                        if line.lower().startswith(b"content-length:"):
                            length = int(line[15:])
                    answer = json.loads(file.read(length))
                    if answer != {"bytes": 20, "body": body.decode()}:
                        wrong.append((body, answer))

        threads = [threading.Thread(target=client, args=(name,)) for name in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong[:3], [])

    def test_refused(self):
        for name, data, status in REFUSED:
            with self.subTest(name):
                received = self.daemon.raw(data + SECOND, seconds=5)
                self.assertEqual(status_of(received), status, received[:300])
                self.assertEqual(received.count(b"HTTP/1.1 "), 1, "the connection must end")
                self.assertIn(b"Connection: close", received)
                body = json.loads(received.split(b"\r\n\r\n", 1)[1])
                self.assertTrue(body["detail"] and body["code"])
        self.assert_alive()

    def test_chunked(self):
        chunks = b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"
        received = self.daemon.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + SECOND,
                                   seconds=2)
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 2)
        self.assertIn(b'"hello world"', received)

    def test_cut_bodies(self):
        for name, data in (
                ("length", POST + b"Content-Length: 50\r\n\r\nabc"),
                ("chunk", POST + b"Transfer-Encoding: chunked\r\n\r\n20\r\nabc"),
                ("chunk header", POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"),
                ("bad chunk", POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n")):
            with self.subTest(name):
                received = self.daemon.raw(data, end=True)
                self.assertIn(status_of(received), (0, 400), received[:200])
                self.assertNotIn(b"200 OK", received)
        self.assert_alive()

    def test_expect_continue(self):
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=10) as connection:
            connection.sendall(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n"
                               b"Connection: close\r\n\r\n")
            first = connection.recv(100)
            self.assertTrue(first.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"), first)
            connection.sendall(b"hello")
            self.assertIn(b'"bytes":5', receive_all(connection))

    def test_expect_continue_for_a_refused_body(self):
        received = self.daemon.raw(POST + b"Content-Length: 200000\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(status_of(received), 413)

    def test_body_for_a_route_without_use(self):
        received = self.daemon.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n"
                                   b"GET /hello HTTP/1.1\r\nHost: x\r\n" + SECOND, seconds=3)
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 1, received)

    def test_absolute_and_odd_targets(self):
        absolute = b"GET http://127.0.0.1:%d/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        self.assertEqual(status_of(self.daemon.raw(absolute % self.daemon.port)), 200)
        for target in (b"*", b"hello", b"//hello", b"/hello/../../etc/passwd", b"/" * 3000,
                       b"http://elsewhere:80", b"http:/hello", b"ftp://x/hello", b"http://"):
            received = self.daemon.raw(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n"
                                       b"Connection: close\r\n\r\n")
            self.assertIn(status_of(received), (0, 400, 404, 414), target)
        self.assert_alive()

    def test_silence_and_rubbish_do_no_harm(self):
        for data in (b"", b"\r\n\r\n", b"\0" * 100, b"GET", b"GET / HTTP/1.1\r\nHost: x\r\nA"):
            self.daemon.raw(data, end=True)
        self.assert_alive()

    def test_slow_body_is_cut(self):
        """One byte now and then does not prolong the time for the whole body."""
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=20) as connection:
            connection.sendall(POST + b"Content-Length: 5000\r\n\r\n")
            try:
                for _ in range(100):
                    connection.sendall(b"a")
                    time.sleep(0.2)
                self.fail("the connection was never cut")
            except OSError:
                pass
        self.assertGreater(time.monotonic() - begin, 1)
        self.assert_alive()

    def test_slow_body_that_nobody_wants_is_cut(self):
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=20) as connection:
            connection.sendall(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
            try:
                for _ in range(100):
                    connection.sendall(b"a")
                    time.sleep(0.2)
                self.fail("the connection was never cut")
            except OSError:
                pass
        self.assert_alive()

    def test_refusal_of_a_large_body_is_heard(self):
        """A client that sends all of its body before it listens still reads the answer."""
        for path, status in (("/size", 413), ("/nope", 404)):
            self.assertEqual(self.daemon.post(path, b"a" * 20000000).status, status)
        self.assert_alive()

    def test_slow_readers_are_cut(self):
        """A client that never reads loses its connection; its thread serves others again."""
        request = b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n" + b"a" * 30
        clients = []
        for _ in range(4):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect(("127.0.0.1", self.daemon.port))
            clients.append(client)

        def flood(client):
            client.settimeout(20)
            try:
                while True:
                    client.sendall(request * 100)
            except OSError:
                pass

        threads = [threading.Thread(target=flood, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertFalse(any(thread.is_alive() for thread in threads))
        for client in clients:
            client.close()
        self.assert_alive()


if __name__ == "__main__":
    unittest.main()
