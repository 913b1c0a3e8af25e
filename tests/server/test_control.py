"""The control socket: who may connect, what it answers, what a bad peer cannot do."""
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
import unittest

from daemon import BINARY, Daemon, run_cli

APP = """
local md = require "moondial"
return md.app { name = "control", routes = { md.get("/hello", function() return "hello" end) } }
"""


class Peer:
    """One connection: say() sends a line, hear() reads one."""

    def __init__(self, path, seconds=30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.socket.connect(path)
        self.file = self.socket.makefile("r", encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def say(self, line):
        self.socket.sendall((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n")

    def hear(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def ask(self, **request):
        self.say(request)
        return self.hear()


class Control(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.state = tempfile.mkdtemp(prefix="moondial-control-")
        cls.path = os.path.join(cls.state, "control.sock")
        cls.daemon = Daemon({"app.lua": APP}, ["--state", cls.state])
        os.umask(0)
        try:
            cls.daemon.start()
        finally:
            os.umask(0o022)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()
        shutil.rmtree(cls.state)

    def test_only_the_owner_may_connect_whatever_the_umask(self):
        mode = os.lstat(self.path).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_ping(self):
        with Peer(self.path) as peer:
            answer = peer.ask(op="ping")
        self.assertEqual((answer["ok"], answer["pid"]), (True, self.daemon.process.pid))
        self.assertGreater(answer["uptime_s"], 0)

    def test_config_hides_nothing_but_secrets(self):
        with Peer(self.path) as peer:
            keys = {key["key"]: key for key in peer.ask(op="config")["config"]}
        self.assertEqual(keys["state"]["value"], self.state)
        self.assertEqual(keys["state"]["origin"], "flag --state")

    def test_log_level_changes_at_run_time(self):
        with Peer(self.path) as peer:
            self.assertEqual(peer.ask(op="log-level")["level"], "info")
            self.assertEqual(peer.ask(op="log-level", level="debug")["level"], "debug")
            self.daemon.get("/hello")
            self.daemon.wait_log("GET /hello -> 200")
            answer = peer.ask(op="log-level", level="loud")
            self.assertEqual((answer["ok"], answer["code"]), (False, "INVALID_ARGUMENT"))
            self.assertEqual(peer.ask(op="log-level", level="info")["level"], "info")

    def test_requests_are_answered_in_order(self):
        with Peer(self.path) as peer:
            peer.say('{"op":"ping"}\n{"op":"log-level"}\n\n{"op":"nonsense"}')
            self.assertIn("pid", peer.hear())
            self.assertIn("level", peer.hear())
            self.assertEqual(peer.hear()["code"], "NOT_FOUND")

    def test_half_closed_peers_get_their_answer(self):
        with Peer(self.path) as peer:
            peer.say({"op": "ping"})
            peer.socket.shutdown(socket.SHUT_WR)
            self.assertIn("pid", peer.hear())
            self.assertIsNone(peer.hear())

    def test_nonsense_is_refused_and_the_connection_stays(self):
        for line in ("nonsense", "[]", "{}", '{"op":7}', '"ping"', '{"op":"ping"', '\\u0000',
                     '{"op":"a\\u0000b"}', '{"op":"ping","op":"ping"}', "[" * 5000):
            with Peer(self.path) as peer:
                peer.say(line)
                answer = peer.hear()
                self.assertFalse(answer["ok"], line[:50])
                self.assertIn("code", answer)
                self.assertIn("pid", peer.ask(op="ping"), line[:50])

    def test_a_line_has_a_cap(self):
        with Peer(self.path) as peer:
            refused = None
            try:
                for _ in range(64):
                    peer.socket.sendall(b"x" * 65536)
            except (BrokenPipeError, ConnectionResetError):
                pass
            try:
                refused = peer.hear()
            except ConnectionResetError:
                return
            self.assertEqual(refused["code"], "TOO_LARGE")

    def test_an_interrupt_without_a_call_is_ignored(self):
        with Peer(self.path) as peer:
            peer.say({"op": "interrupt"})
            self.assertIn("pid", peer.ask(op="ping"))

    def accepted(self):
        """A peer that has been served: connections that just ended may still hold their place."""
        for _ in range(200):
            peer = Peer(self.path)
            try:
                if "pid" in (peer.ask(op="ping") or {}):
                    return peer
            except (BrokenPipeError, ConnectionResetError):
                pass
            peer.__exit__()
            time.sleep(0.02)
        raise AssertionError("no connection comes free")

    def test_too_many_connections_are_refused_and_come_free(self):
        peers = [self.accepted() for _ in range(8)]
        try:
            with Peer(self.path) as ninth:
                self.assertEqual(ninth.hear()["code"], "UNAVAILABLE")
        finally:
            for peer in peers:
                peer.__exit__()
        self.accepted().__exit__()

    def test_hostile_peers_do_not_hold_up_serving(self):
        hostile = []
        try:
            for text in (b"", b'{"op":', b'{"op":"config"}\n' * 3, b"\x00\xff\xfe" * 1000):
                peer = Peer(self.path)
                peer.socket.sendall(text)
                hostile.append(peer)
            self.assertEqual(self.daemon.get("/hello").body, b"hello")
            with Peer(self.path) as peer:
                self.assertIn("pid", peer.ask(op="ping"))
        finally:
            for peer in hostile:
                peer.__exit__()

    def test_peers_that_vanish_leave_nothing_behind(self):
        def churn():
            for _ in range(30):
                try:
                    with Peer(self.path) as peer:
                        peer.say({"op": "config"})
                except OSError:
                    pass

        before = len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))
        threads = [threading.Thread(target=churn) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _ in range(200):
            now = len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))
            if now <= before:
                break
            time.sleep(0.05)
        self.assertLessEqual(now, before)

    def test_the_command(self):
        code, out, err = run_cli("control", "ping", "--state", self.state)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out)["pid"], self.daemon.process.pid)
        code, out, err = run_cli("control", '{"op":"log-level"}', "--control", self.path)
        self.assertEqual((code, json.loads(out)), (0, {"ok": True, "level": "info"}))
        code, out, err = run_cli("control", "ping", env={"MOONDIAL_STATE": self.state})
        self.assertEqual(code, 0, err)

    def refuse(self, status, says, *arguments):
        code, out, err = run_cli("control", *arguments)
        self.assertEqual((code, out, err.count("\n")), (status, "", 1), err)
        self.assertIn(says, err)

    def test_the_command_says_what_is_wrong(self):
        self.refuse(2, "which daemon?", "ping")
        self.refuse(2, "no daemon listens", "ping", "--control", self.state + "/other.sock")
        self.refuse(2, "no op \"dance\"", "dance", "--control", self.path)
        self.refuse(2, "1 to 107 bytes", "ping", "--control", "/tmp/" + "x" * 120)
        self.refuse(2, "log level", '{"op":"log-level","level":"x"}', "--control", self.path)


TICKING = """
local md = require "moondial"
return md.app { name = "ticking",
    series = { s = { key = "name", time = "at", step_s = 300, steps = 10, grace_s = 10,
        columns = { { name = "x" } } } },
    on_tick = { series = "s", run = function(tick)
        md.sleep(0.05)
        md.dict("seen"):set("tick", tick)
        md.dict("seen"):incr("ticks", 1)
    end },
    routes = { md.get("/seen", function()
        return { now_ms = md.now_ms(), ticks = md.dict("seen"):get "ticks" or 0,
            tick = md.dict("seen"):get "tick" }
    end) } }
"""


class StandingClock(unittest.TestCase):
    """A service whose time somebody else moves on."""

    def test_what_is_due_has_run_when_the_answer_comes(self):
        origin = 1767225600000
        with tempfile.TemporaryDirectory(prefix="moondial-control-") as state:
            flags = ["--state", state, "--clock-speed", "0", "--clock-origin-ms", str(origin)]
            with Daemon({"app.lua": TICKING}, flags) as daemon, \
                    Peer(os.path.join(state, "control.sock")) as peer:
                daemon.wait_ready()
                self.assertEqual(peer.ask(op="clock"), {"ok": True, "now_ms": origin})
                ticks = daemon.get("/seen").json()["ticks"]
                for step in range(1, 6):
                    now = origin + step * 300000 + 10000
                    self.assertEqual(peer.ask(op="clock", now_ms=now), {"ok": True, "now_ms": now})
                    seen = daemon.get("/seen").json()
                    self.assertEqual(seen["now_ms"], now)
                    self.assertEqual(seen["tick"]["closed_ms"], origin + step * 300000)
                self.assertEqual(seen["ticks"] - ticks, 5)
                for wrong in (origin, "soon", 1e300, None):
                    answer = peer.ask(op="clock", now_ms=wrong)
                    self.assertEqual((answer["ok"], answer["code"], answer["now_ms"]),
                                     (False, "INVALID_ARGUMENT", now))

    def test_a_clock_that_goes_by_itself_is_left_alone(self):
        with tempfile.TemporaryDirectory(prefix="moondial-control-") as state:
            with Daemon({"app.lua": APP}, ["--state", state]), \
                    Peer(os.path.join(state, "control.sock")) as peer:
                answer = peer.ask(op="clock", now_ms=int(time.time() * 1000) + 1000000)
                self.assertEqual(answer["code"], "CONFLICT")


class Life(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moondial-control-")
        self.path = os.path.join(self.folder, "c.sock")

    def tearDown(self):
        shutil.rmtree(self.folder)

    def test_a_stale_socket_is_replaced_and_the_own_one_removed(self):
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(self.path)
        stale.close()
        with Daemon({"app.lua": APP}, ["--control", self.path]) as daemon:
            with Peer(self.path) as peer:
                self.assertEqual(peer.ask(op="ping")["pid"], daemon.process.pid)
                self.assertEqual(daemon.stop(), 0)
                self.assertIsNone(peer.hear())
        self.assertFalse(os.path.exists(self.path))

    def test_a_killed_daemon_leaves_a_socket_that_the_next_one_takes_over(self):
        with Daemon({"app.lua": APP}, ["--control", self.path]) as daemon:
            daemon.kill()
            self.assertTrue(os.path.exists(self.path))
            daemon.start()
            with Peer(self.path) as peer:
                self.assertEqual(peer.ask(op="ping")["pid"], daemon.process.pid)

    def start_refused(self, *flags):
        with Daemon({"app.lua": APP}).scratch() as files:
            done = subprocess.run([BINARY, "serve", files.folder, "--port", "0", *flags],
                                  capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr.splitlines()[-1]

    def test_a_live_socket_is_left_alone(self):
        with Daemon({"app.lua": APP}, ["--control", self.path]) as daemon:
            code, says = self.start_refused("--control", self.path)
            self.assertEqual(code, 2)
            self.assertIn("another daemon answers", says)
            with Peer(self.path) as peer:
                self.assertEqual(peer.ask(op="ping")["pid"], daemon.process.pid)

    def test_a_file_of_another_kind_is_left_alone(self):
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("precious")
        code, says = self.start_refused("--control", self.path)
        self.assertEqual(code, 2)
        self.assertIn("not a socket", says)
        with open(self.path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")

    def test_a_path_too_long_is_refused_when_it_was_asked_for(self):
        deep = os.path.join(self.folder, "d" * 100)
        os.mkdir(deep)
        code, says = self.start_refused("--control", os.path.join(deep, "c.sock"))
        self.assertEqual(code, 2)
        self.assertIn("1 to 107 bytes", says)
        with Daemon({"app.lua": APP}, ["--state", deep]) as daemon:
            daemon.wait_log("1 to 107 bytes")
            self.assertEqual(daemon.get("/hello").body, b"hello")

    def test_without_a_state_folder_there_is_none(self):
        with Daemon({"app.lua": APP}) as daemon:
            self.assertEqual(daemon.get("/hello").body, b"hello")
            self.assertEqual(os.listdir(daemon.folder), ["app.lua"])


if __name__ == "__main__":
    unittest.main()
