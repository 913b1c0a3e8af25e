"""HTTPS: certificates good and bad, clients that speak something else, streams, changed files."""
import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

from daemon import BINARY, Daemon, receive_all, status_of

APP = """
local md = require "moondial"
return md.app {
    name = "probe", version = "1",
    routes = {
        md.get("/seen", function(request) return { remote = request.remote } end),
        md.get("/big", function() return ("0123456789"):rep(2000000) end),
        md.post("/size", function(request) return { bytes = #request.body } end),
        md.get("/count", function()
            return md.stream(function(stream)
                for n = 1, 3 do stream:send { data = n } md.sleep(0.01) end
            end)
        end),
        md.get("/admin", { admin = true }, function() return { admin = true } end),
        md.get("/limited", { rate_per_min = 2 }, function() return {} end),
    },
}
"""


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def make_certificate(folder, name, *more):
    """A self-signed certificate for localhost: (certificate, key)."""
    paths = [os.path.join(folder, f"{name}.{kind}.pem") for kind in ("cert", "key")]
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-out", paths[0], "-keyout", paths[1], *more)
    return paths


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="moondial-tls-")
        cls.pair = make_certificate(cls.folder, "one")
        cls.other = make_certificate(cls.folder, "two")
        cls.daemon = Daemon({"app.lua": APP}, ["--tls-cert", cls.pair[0], "--tls-key", cls.pair[1],
                                               "--rate-limit-loopback",
                                               "--request-timeout-ms", "3000"])
        cls.daemon.start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()
        shutil.rmtree(cls.folder)

    def context(self, certificate=None, **versions):
        context = ssl.create_default_context(cafile=certificate or self.pair[0])
        for name, value in versions.items():
            setattr(context, name, value)
        return context

    @contextlib.contextmanager
    def client(self, **arguments):
        context = self.context(**arguments)
        with socket.create_connection(("127.0.0.1", self.daemon.port), timeout=30) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                yield client

    def ask(self, method, path, body=None, certificate=None):
        connection = http.client.HTTPSConnection("localhost", self.daemon.port, timeout=30,
                                                 context=self.context(certificate))
        with contextlib.closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()

    def assert_alive(self):
        self.assertEqual(self.ask("GET", "/seen"), (200, b'{"remote":"127.0.0.1"}'))

    def test_requests(self):
        self.assert_alive()
        self.assertIn("https://", self.daemon.wait_log("://"))
        self.assertEqual(self.ask("GET", "/big"), (200, b"0123456789" * 2000000))
        self.assertEqual(self.ask("POST", "/size", b"x" * 5000000), (200, b'{"bytes":5000000}'))
        self.assertEqual(self.ask("GET", "/count")[1], b"data: 1\n\ndata: 2\n\ndata: 3\n\n")
        self.assertEqual(self.ask("GET", "/admin")[0], 200)
        self.assertEqual([self.ask("GET", "/limited")[0] for _ in range(3)], [200, 200, 429])

    def test_keep_alive_and_pipelining(self):
        request = b"GET /seen HTTP/1.1\r\nHost: x\r\n\r\n"
        with self.client() as client:
            client.sendall(request * 50)
            received = b""
            while received.count(b"200 OK") < 50:
                received += client.recv(65536)
            for piece in (request[:7], request[7:]):
                client.sendall(piece)
            self.assertIn(b"200 OK", client.recv(1000))

    def test_curl(self):
        done = subprocess.run(["curl", "-sS", "--cacert", self.pair[0],
                               f"https://localhost:{self.daemon.port}/seen"],
                              capture_output=True, check=False, timeout=30)
        self.assertEqual(done.stdout, b'{"remote":"127.0.0.1"}', done.stderr)

    def test_versions(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.client(maximum_version=version, minimum_version=version) as client:
                self.assertEqual(client.version(), version.name.replace("_", "."))
                client.sendall(b"GET /seen HTTP/1.0\r\n\r\n")
                self.assertIn(b"200 OK", receive_all(client))
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.daemon.port}",
                               "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], input=b"",
                              capture_output=True, check=False, timeout=30)
        self.assertNotEqual(done.returncode, 0)
        self.assert_alive()

    def test_plain_http_is_told(self):
        received = self.daemon.raw(b"GET /seen HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(status_of(received), 400)
        self.assertIn(b"HTTPS", received)

    def test_rubbish(self):
        for data in (b"\x16\x03\x01\xff\xff" + b"\x01" * 1000, b"\0" * 100, b"\x80\x2e\x01\0\2",
                     b"\x16\x03\x01\x00\x05\x01"):
            with contextlib.suppress(OSError):  # refused before all was said
                self.daemon.raw(data, end=True)
        self.assert_alive()

    def test_renegotiation_is_refused(self):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.daemon.port}",
                               "-tls1_2"], input=b"R\nGET /seen HTTP/1.0\r\n\r\n",
                              capture_output=True, check=False, timeout=30)
        self.assertNotIn(b"200 OK", done.stdout)
        self.assert_alive()

    def test_handshakes_that_never_end(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(
                ("127.0.0.1", self.daemon.port), timeout=60)) for _ in range(300)]
            for client in clients:
                client.sendall(b"\x16\x03\x01\x02\x00\x01")
            self.assert_alive()

    def test_leaving_in_the_middle(self):
        for _ in range(20):
            with self.client() as client:
                client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
                client.recv(1000)
        self.assert_alive()

    def test_many_at_once(self):
        problems = []

        def work():
            try:
                for _ in range(10):
                    if self.ask("POST", "/size", b"y" * 100000) != (200, b'{"bytes":100000}'):
                        problems.append("wrong answer")
            except OSError as problem:
                problems.append(repr(problem))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])

    def test_changed_files_are_taken_over(self):
        """New connections see the new certificate; a broken one changes nothing."""
        with self.client() as before:
            shutil.copy(self.other[1], self.pair[1] + ".new")
            os.rename(self.pair[1] + ".new", self.pair[1])
            self.daemon.wait_log("the old certificate stays in use")
            before.sendall(b"GET /seen HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b"200 OK", before.recv(1000))
            old = self.pair[0] + ".old"
            shutil.copy(self.pair[0], old)
            self.assertEqual(self.ask("GET", "/seen", certificate=old)[0], 200)
            shutil.copy(self.other[0], self.pair[0] + ".new")
            os.rename(self.pair[0] + ".new", self.pair[0])
            self.daemon.wait_log("the certificate has been replaced")
            self.assertEqual(self.ask("GET", "/seen", certificate=self.other[0])[0], 200)
            before.sendall(b"GET /seen HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b"200 OK", before.recv(1000))


class Files(unittest.TestCase):
    """What is wrong with a certificate is said at once, with the file's name."""

    def start(self, certificate, key):
        with Daemon({"app.lua": APP}).scratch() as daemon:
            done = subprocess.run([BINARY, "serve", daemon.folder, "--listen", "127.0.0.1:0",
                                   "--tls-cert", certificate, "--tls-key", key],
                                  capture_output=True, text=True, timeout=60, check=False)
        lines = [line for line in done.stderr.splitlines() if line.startswith("moondial: ")]
        self.assertEqual((done.returncode, len(lines)), (2, 1), done.stderr)
        return lines[0]

    def test_bad_files(self):
        with tempfile.TemporaryDirectory() as folder:
            good, other = make_certificate(folder, "good"), make_certificate(folder, "other")
            garbage, locked = os.path.join(folder, "garbage"), os.path.join(folder, "locked")
            with open(garbage, "w", encoding="ascii") as file:
                file.write("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
            openssl("ec", "-in", good[1], "-aes128", "-passout", "pass:secret", "-out", locked)
            for certificate, key, part in (
                    (good[0], other[1], "not the key"), (good[0], good[0], "cannot use this key"),
                    (good[1], good[1], "cannot use this certificate"),
                    (garbage, good[1], "garbage: cannot use"), (folder, good[1], "cannot use"),
                    ("/nonexistent", good[1], "/nonexistent: cannot use"),
                    (good[0], "/nonexistent", "/nonexistent: cannot use"),
                    (good[0], locked, "locked: cannot use")):
                with self.subTest(part):
                    self.assertRegex(self.start(certificate, key), re.escape(part))

    def test_dates(self):
        with tempfile.TemporaryDirectory() as folder:
            base = os.path.join(folder, "ca")
            os.makedirs(base)
            pair = make_certificate(folder, "x")
            request = os.path.join(folder, "request")
            openssl("req", "-new", "-key", pair[1], "-subj", "/CN=x", "-out", request)
            with open(os.path.join(base, "index.txt"), "w", encoding="ascii"):
                pass
            config = os.path.join(base, "config")
            with open(config, "w", encoding="ascii") as file:
                file.write(f"[ca]\ndefault_ca=c\n[c]\ndatabase={base}/index.txt\n"
                           f"new_certs_dir={base}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n"
                           "unique_subject=no\n[p]\ncommonName=supplied\n")
            for begin, end, part in (("20200101000000Z", "20210101000000Z", "has expired"),
                                     ("20980101000000Z", "20990101000000Z", "not valid yet")):
                out = os.path.join(folder, part.replace(" ", "-"))
                openssl("ca", "-batch", "-config", config, "-selfsign", "-keyfile", pair[1],
                        "-in", request, "-startdate", begin, "-enddate", end, "-out", out,
                        "-notext")
                self.assertIn(part, self.start(out, pair[1]))


if __name__ == "__main__":
    unittest.main()
