"""Starting, refusing to start, draining, ending."""
import json
import os
import signal
import socket
import threading
import time
import unittest

from daemon import Daemon, run_cli

APP = """
local md = require "moondial"
return md.app {
    name = "probe", version = "1",
    routes = {
        md.get("/hello", function() return { hello = true } end),
        md.get("/nap", function() md.sleep(1) return { rested = true } end),
        md.get("/rest", function() md.sleep(3) return { rested = true } end),
        md.get("/sleep", function() md.sleep(20) return { rested = true } end),
    },
}
"""


class Ending(unittest.TestCase):
    def drain(self, number):
        with Daemon({"app.lua": APP}) as daemon:
            answers = []
            client = threading.Thread(target=lambda: answers.append(daemon.get("/nap")))
            client.start()
            daemon.wait_in_flight(1)
            self.assertEqual(daemon.stop(number), 0)
            client.join()
            self.assertEqual(answers[0].json(), {"rested": True})

    def test_terminate_finishes_what_is_running(self):
        self.drain(signal.SIGTERM)

    def test_interrupt_finishes_what_is_running(self):
        self.drain(signal.SIGINT)

    def test_draining_refuses_the_new(self):
        with Daemon({"app.lua": APP}) as daemon:
            rest = threading.Thread(target=lambda: daemon.get("/rest"))
            idle = daemon.connect()
            daemon.get("/hello", connection=idle)
            rest.start()
            daemon.wait_in_flight(1)
            daemon.process.send_signal(signal.SIGTERM)
            ready = daemon.get("/ready", connection=idle)
            while ready.status == 200:
                ready = daemon.get("/ready", connection=idle)
            self.assertEqual((ready.status, ready.json()["reason"]), (503, "draining"))
            self.assertEqual(ready.headers["connection"], "close")
            refused = daemon.get("/hello")
            self.assertEqual((refused.status, refused.json()["code"]), (503, "UNAVAILABLE"))
            self.assertEqual(daemon.process.wait(30), 0)
            rest.join()

    def test_second_signal_ends_at_once(self):
        with Daemon({"app.lua": APP}) as daemon:
            def client():
                try:
                    daemon.get("/sleep")
                except OSError:
                    pass

            thread = threading.Thread(target=client)
            thread.start()
            daemon.wait_in_flight(1)
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_log("draining")
            self.assertNotEqual(daemon.stop(signal.SIGTERM), 0)
            thread.join()

    def test_broken_pipes_do_no_harm(self):
        with Daemon({"app.lua": APP}) as daemon:
            for _ in range(5):
                with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
                    connection.sendall(b"GET /nap HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(1.5)
            self.assertEqual(daemon.get("/hello").status, 200)


class Starting(unittest.TestCase):
    def refuse(self, files, flags=(), status=2, says=""):
        folder = Daemon(files)  # only its files
        with folder.scratch():
            code, out, err = run_cli("serve", folder.folder, "--listen", "127.0.0.1:0", *flags)
        self.assertEqual(code, status, err)
        self.assertEqual(out, "")
        lines = [line for line in err.splitlines() if line.startswith("moondial: ")]
        self.assertEqual(len(lines), 1, err)
        self.assertIn(says, lines[0])

    def test_bad_settings(self):
        files = {"app.lua": APP}
        for flags, status, says in (
                (["--listen", "nowhere:80"], 2, "nowhere"),
                (["--listen", "127.0.0.1:99999"], 2, "99999"),
                (["--listen", "0.0.0.0:0"], 2, "API key"),
                (["--api-key", "short"], 2, "API key"),
                (["--api-key-file", "/nonexistent/key"], 2, "key"),
                (["--tls-cert", "x.pem"], 2, "key"),
                (["--tls-key", "x.pem"], 2, "certificate"),
                (["--tls-cert", "/nonexistent/a", "--tls-key", "/nonexistent/b"], 2, "/a"),
                (["--no-such-flag", "1"], 2, "no-such-flag"),
                (["--http-threads", "many"], 2, "threads"),
                (["--http-threads", "100000"], 2, "4096"),
                (["--device", "cuda"], 2, "cuda"),
                (["--device", "abacus"], 2, "abacus"),
                (["--isa", "abacus"], 2, "abacus"),
                (["--log-level", "loud"], 2, "loud"),
                (["--log-format", "xml"], 2, "xml"),
                (["--config", "/nonexistent.lua"], 2, "nonexistent"),
                (["stray"], 2, "stray")):
            with self.subTest(flags=flags):
                self.refuse(files, flags, status, says)

    def test_port_in_use(self):
        with Daemon({"app.lua": APP}) as daemon:
            code, _, err = run_cli("serve", daemon.folder, "--listen", f"127.0.0.1:{daemon.port}")
            self.assertEqual(code, 1, err)
            self.assertIn("Address already in use", err)
            self.assertEqual(daemon.get("/hello").status, 200)

    def test_open_address(self):
        for flags in (["--insecure"], ["--api-key", "secret-secret"]):
            with Daemon({"app.lua": APP}, flags) as daemon:
                daemon.stop()
                daemon.start("0.0.0.0:0")
                self.assertEqual(daemon.get("/health").status, 200)

    def test_addresses(self):
        with Daemon({"app.lua": APP}) as daemon:
            for listen in ("localhost:0", "127.0.0.2:0", ":0", "0"):
                daemon.stop()
                daemon.start(listen)
                self.assertTrue(daemon.port)

    def test_folders(self):
        for arguments, says in ((["/nonexistent"], "nonexistent"), ([], "usage"),
                                (["--listen", "127.0.0.1:0"], "usage")):
            code, _, err = run_cli("serve", *arguments)
            self.assertEqual(code, 2, err)
            self.assertIn(says, err)

    def test_state_folder_has_one_owner(self):
        with Daemon({"app.lua": APP}) as daemon:
            state = os.path.join(daemon.folder, "state")
            daemon.stop()
            daemon.flags += ["--state", state]
            daemon.start()
            code, _, err = run_cli("serve", daemon.folder, "--listen", "127.0.0.1:0", "--state",
                                   state)
            self.assertEqual(code, 2, err)
            self.assertIn(str(daemon.process.pid), err)
            self.assertEqual(daemon.stop(), 0)
            daemon.start()

    def test_json_log(self):
        with Daemon({"app.lua": APP}, ["--log-format", "json"]) as daemon:
            daemon.stop()
            self.assertTrue(daemon.log)
            for line in daemon.log:
                self.assertIn("level", json.loads(line))

    def test_quiet(self):
        """A hundred requests leave no line at the default level."""
        with Daemon({"app.lua": APP}) as daemon:
            before = len(daemon.log)
            for _ in range(100):
                daemon.get("/hello")
            self.assertEqual(len(daemon.log), before)


class CommandLine(unittest.TestCase):
    def test_usage(self):
        self.assertEqual(run_cli("--help")[0], 0)
        self.assertIn("serve", run_cli("--help")[1])
        for arguments in ([], ["nonsense"], ["tune", "x"]):
            code, out, err = run_cli(*arguments)
            self.assertEqual((code, out), (2, ""), arguments)
            self.assertEqual(err.count("\n"), 1)
        self.assertIn("not available in this version", run_cli("tune")[2])

    def test_check(self):
        broken = APP.replace("md.sleep(20)", "md.sleep(20")
        for files, status, says in (({"app.lua": APP}, 0, "ok"),
                                    ({"app.lua": broken}, 2, "app.lua:"),
                                    ({"app.lua": "return 3"}, 2, "app"),
                                    ({"app.lua": "error('loud')"}, 2, "loud"),
                                    ({"app.lua": "x = 1 return {}"}, 2, "x"),
                                    ({"app.lua": APP, "config.lua": "return {"}, 2, "config.lua"),
                                    ({}, 2, "app")):
            with self.subTest(says), Daemon(files).scratch() as folder:
                code, out, err = run_cli("check", folder.folder)
                self.assertEqual(code, status, err)
                self.assertIn(says, out + err)
                report = json.loads(run_cli("check", folder.folder, "--json")[1])
                self.assertEqual((report["ok"], bool(report["errors"])), (status == 0, status != 0))
        self.assertEqual(run_cli("check", "/nonexistent")[0], 2)
        self.assertEqual(run_cli("check")[0], 2)

    def test_show_config(self):
        daemon = Daemon({"app.lua": APP, "config.lua": "return { threshold = 3, states = 2 }"})
        with daemon.scratch():
            code, out, err = run_cli("show-config", daemon.folder, "--json", "--threads", "1",
                                     "--api-key", "very-secret", env={"MOONDIAL_THRESHOLD": "4"})
            self.assertEqual(code, 0, err)
            rows = {row["key"]: row for row in json.loads(out)}
            self.assertEqual(rows["threshold"]["value"], 4)
            self.assertIn("environment", rows["threshold"]["origin"])
            self.assertIn("config.lua", rows["states"]["origin"])
            self.assertIn("flag", rows["threads"]["origin"])
            self.assertEqual(rows["listen"]["origin"], "default")
            self.assertNotIn("very-secret", out)
            code, out, err = run_cli("show-config", daemon.folder)
            self.assertEqual(code, 0, err)
            self.assertIn("threshold", out)


if __name__ == "__main__":
    unittest.main()
