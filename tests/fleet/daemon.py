"""A Moondial daemon of its own for a test: started on a free port, spoken to, ended."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MOONDIAL = os.environ.get("MOONDIAL", os.path.join(ROOT, "build", "release", "moondial"))
START_S_MAX, ANSWER_S_MAX = 60, 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    """`with Daemon("scripts/fleet") as daemon:`; its state survives `restart`.

    With now_ms the daemon's clock stands still at that time, so that nothing depends on the day.
    """

    def __init__(self, folder, *flags, now_ms=None):
        self.folder, self.flags = folder, flags
        if now_ms is not None:
            self.flags += ("--clock-origin-ms", str(now_ms), "--clock-speed", "0")
        self.state = tempfile.mkdtemp(prefix="moondial-test.")
        self.log_path = os.path.join(self.state, "daemon.log")
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.stop()
        shutil.rmtree(self.state, ignore_errors=True)

    def start(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [MOONDIAL, "serve", self.folder, "--port", str(self.port), "--state",
                 os.path.join(self.state, "state"), *self.flags],
                cwd=ROOT, env=os.environ | {"MOONDIAL_LOG_LEVEL": "info"}, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL)
        limit = time.monotonic() + START_S_MAX
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"the daemon has ended:\n{self.log()}")
            try:
                if self.get("/ready")[0] == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > limit:
                raise RuntimeError(f"the daemon is not ready:\n{self.log()}")
            time.sleep(0.05)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(f"the daemon did not end:\n{self.log()}") from None
            if self.process.returncode != 0:
                raise RuntimeError(f"the daemon ended badly:\n{self.log()}")

    def restart(self):
        self.stop()
        self.start()

    def evaluate(self, code):
        """What an expression gives at the prompt inside the daemon."""
        done = subprocess.run(
            [MOONDIAL, "repl", "--json", "--state", os.path.join(self.state, "state"), "--eval",
             code], check=True, capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def request(self, method, path, body=None, headers=None):
        """(status, decoded JSON or text)"""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else None
        if method == "POST" and data is None:
            data = b""
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:
                return answer.status, decoded(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, decoded(error.read())

    def get(self, path, headers=None):
        return self.request("GET", path, None, headers)

    def post(self, path, body=None, headers=None):
        return self.request("POST", path, body, headers)


def decoded(data):
    text = data.decode()
    try:
        return json.loads(text, parse_constant=lambda name: name)
    except ValueError:
        return text
