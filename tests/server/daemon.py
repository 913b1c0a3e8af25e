"""The daemon under test, and a client for it.

    with Daemon({"app.lua": APP}) as daemon:
        answer = daemon.get("/hello")
        answer.status, answer.headers["content-type"], answer.json()

raw() sends bytes as they are and returns everything that comes back, for requests that no HTTP
library would make.
"""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BINARY = os.environ.get("MOONDIAL", os.path.join(ROOT, "build", "release", "moondial"))
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60


class Answer:
    """Status, headers (lower-case names; repeated ones joined by commas) and body bytes."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {}
        for name, value in headers:
            name = name.lower()
            before = self.headers.get(name)
            self.headers[name] = value if before is None else before + ", " + value
        self.body = body

    def json(self):
        return json.loads(self.body)


class Daemon:
    """A moondial serve process on a free port of 127.0.0.1, on a folder of the given files."""

    def __init__(self, files, flags=(), env=None, folder=None):
        self.flags = list(flags)
        self.env = {name: value for name, value in os.environ.items()
                    if name not in ("NORDIQ_API_KEY", "TFT_API_KEY")
                    and not name.startswith("MOONDIAL_")}
        self.env.update(env or {})
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="moondial-server-")
        for name, text in files.items():
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        self.log = []
        self.process = self.port = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process:
            self.stop()
        if self.own_folder:
            shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def scratch(self):
        """The folder alone, for commands that end by themselves."""
        try:
            yield self
        finally:
            self.__exit__()

    def replace(self, name, text):
        """Changes a file at once: nobody, a reload under way neither, ever reads half of it."""
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(path + ".new", path)

    def start(self, listen="127.0.0.1:0"):
        """Starts the process and waits for the line that names its URL."""
        self.port = None
        listening = threading.Event()
        command = [BINARY, "serve", self.folder, "--listen", listen, *self.flags]
        self.process = subprocess.Popen(command, env=self.env, stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, text=True, errors="replace")

        def read(process):
            for line in process.stderr:
                self.log.append(line.rstrip("\n"))
                match = re.search(r"https?://[\w.]+:(\d+)", line)
                if match and self.port is None:
                    self.port = int(match.group(1))
                    listening.set()
            process.stderr.close()
            listening.set()

        self.reader = threading.Thread(target=read, args=(self.process,), daemon=True)
        self.reader.start()
        if not listening.wait(START_SECONDS_MAX) or self.port is None:
            self.process.kill()
            raise RuntimeError("the daemon did not start: " + " | ".join(self.log))

    def wait_ready(self, seconds=60):
        for _ in range(int(seconds * 20)):
            if self.get("/ready").status == 200:
                return
            time.sleep(0.05)
        raise RuntimeError("not ready: " + " | ".join(self.log))

    def wait_in_flight(self, count, seconds=30):
        """Until so many requests are with the scripts."""
        wanted = f"moondial_http_requests_in_flight {count}\n"
        for _ in range(int(seconds * 50)):
            if wanted in self.get("/metrics").body.decode():
                return
            time.sleep(0.02)
        raise AssertionError(f"there never were {count} requests: " + " | ".join(self.log))

    def wait_log(self, part, seconds=10):
        """The first log line with this in it; lines arrive a little after what they tell."""
        for _ in range(int(seconds * 50)):
            for line in list(self.log):
                if part in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no log line has \"{part}\": " + " | ".join(self.log))

    def stop(self, number=signal.SIGTERM):
        """Ends the process; returns its exit status. One that died before leaves its last words."""
        if self.process.poll() is not None:
            print(f"the daemon had ended with status {self.process.returncode}; its log:",
                  *self.log[-40:], sep="\n", flush=True)
        self.process.send_signal(number)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.reader.join(5)
        self.process = None
        return status

    def kill(self):
        return self.stop(signal.SIGKILL)

    def connect(self, seconds=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def request(self, method, path, body=None, headers=None, connection=None):
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            if own:
                connection.close()

    def get(self, path, **arguments):
        return self.request("GET", path, **arguments)

    def post(self, path, body, **arguments):
        return self.request("POST", path, body=body, **arguments)

    def raw(self, data, seconds=10, end=False):
        """Sends bytes; returns what comes back until the end, or silence of `seconds`."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return receive_all(connection)


def receive_all(connection):
    received = b""
    try:
        while True:
            piece = connection.recv(65536)
            if not piece:
                return received
            received += piece
    except (TimeoutError, ConnectionResetError):
        return received


def status_of(received):
    """The status of the first answer in received bytes; 0 when there is none."""
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", received)
    return int(match.group(1)) if match else 0


def run_cli(*arguments, env=None, typed=""):
    """Runs a subcommand to its end: (exit status, stdout, stderr)."""
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, **(env or {})), check=False, input=typed)
    return done.returncode, done.stdout, done.stderr
