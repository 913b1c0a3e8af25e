"""What tests/bench/fleet/run times: our fleet daemon and the two Python ones, each a process that
is fed the same records over HTTP and asked for the same answer.

    with OURS.start(arguments) as program:
        program.feed(body); program.close(tick); program.first(); program.again()

`first` is a request that finds nothing ready: everything from the windows to the bytes is done for
it. Times are milliseconds as a client sees them, reading the whole body.
"""

import csv
import datetime
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "fleet"))
from daemon import ROOT, Daemon, free_port  # noqa: E402

UTC = datetime.timezone.utc
STEP_MS, HISTORY_STEPS, GRACE_MS = 300000, 288, 10000
START_MS = int(datetime.datetime(2026, 3, 2, 10, tzinfo=UTC).timestamp() * 1000)
TEXTS = ("server_name", "profile", "status")
START_S_MAX, ANSWER_S_MAX = 300, 600


class Records:
    """A simulated fleet: a day of history and then ticks, whose values come around again after
    a while. One body of POST /feed/data a step. For who is silent in a step, the record before is
    sent once more, or the first there is, so that every window is whole."""

    def __init__(self, servers, ticks=32):
        days = (HISTORY_STEPS + ticks) * STEP_MS / 86400000
        text = subprocess.run(
            ["luajit", "examples/fleet/simulator/export.lua", "--days", f"{days:.6f}", "--servers",
             str(servers), "--start", stamp(0)],
            cwd=ROOT, check=True, capture_output=True, text=True).stdout
        self.servers, self.ticks, self.steps = servers, ticks, []
        at, newest = None, {}
        for row in csv.DictReader(io.StringIO(text)):
            row.pop("problem_child")
            if row["timestamp"] != at:
                at = row["timestamp"]
                self.steps.append(newest := dict(newest))
            del row["timestamp"]
            newest[row["server_name"]] = json.dumps({
                key: value if key in TEXTS else float(value) for key, value in row.items()})
        for later, step in zip(self.steps[::-1], self.steps[-2::-1]):
            for name, record in later.items():
                step.setdefault(name, record)

    def body(self, step):
        """Of one step: 0 is the oldest of the history, HISTORY_STEPS the first tick."""
        source = step
        if step >= HISTORY_STEPS:
            source = HISTORY_STEPS + (step - HISTORY_STEPS) % self.ticks
        head = f'{{"timestamp": "{stamp(step)}", '
        records = ", ".join(head + record[1:] for record in self.steps[source].values())
        return f'{{"records": [{records}]}}'.encode()


def stamp(step):
    moment = datetime.datetime.fromtimestamp((START_MS + step * STEP_MS) / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def closing_ms(step):
    """A moment at which this step has just closed."""
    return START_MS + (step + 1) * STEP_MS + GRACE_MS + 2000


class Connection:
    """A connection that stays open, as a dashboard's would. It takes in what comes and no more: the
    quarter of a millisecond that http.client adds to each request is no daemon's."""

    def __init__(self, port):
        self.port, self.socket = port, None
        self.room = bytearray(1 << 16)

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def receive(self, have):
        """How many bytes of the room are taken when more have come."""
        with memoryview(self.room) as room:
            got = self.socket.recv_into(room[have:])
        if got == 0:
            raise ConnectionResetError("the daemon has closed the connection")
        return have + got

    def answer(self):
        """(the head, where the body begins, where it ends)"""
        have = 0
        while (end := self.room.find(b"\r\n\r\n", 0, have)) < 0:
            have = self.receive(have)
        head, body = bytes(self.room[:end]), end + 4
        end = body + int(re.search(rb"\ncontent-length: *(\d+)", head, re.IGNORECASE).group(1))
        if len(self.room) < end:
            self.room.extend(bytes(end - len(self.room)))
        while have < end:
            have = self.receive(have)
        return head, body, end

    def request(self, method, path, body):
        """(milliseconds until the last byte was here, status, the body's bytes)"""
        if not self.socket:
            self.socket = socket.create_connection(("127.0.0.1", self.port), ANSWER_S_MAX)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                   "Content-Type: application/json\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        begun = time.perf_counter()
        self.socket.sendall(message)
        head, begins, ends = self.answer()
        spent = 1000 * (time.perf_counter() - begun)
        return spent, int(head.split(b" ", 2)[1]), bytes(self.room[begins:ends])


class Program:
    """A daemon on `port` with the process id `pid`."""

    def connect(self, port, pid):
        self.connection = Connection(port)
        self.pid, self.next, self.records = pid, 0, None

    def request(self, method, path, body=b""):
        """(milliseconds, the answer's bytes)"""
        spent, status, data = self.connection.request(method, path, body)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {data[:300]}")
        return spent, data

    def wake(self):
        """Connects again when the connection has been idle for too long."""
        try:
            self.request("GET", "/ready")
        except OSError:
            self.connection.close()

    def feed(self, body):
        return self.request("POST", "/feed/data", body)[0]

    def learn(self, records):
        """The whole history, and what a first answer costs once."""
        self.records = records
        while self.next < HISTORY_STEPS:
            self.feed(records.body(self.next))
            self.next += 1
        self.close(self.next - 1)
        self.first()

    def tick(self):
        """The next step's records, and its end: (feed ms, ms of what is done at the end)."""
        body = self.records.body(self.next)
        fed = self.feed(body)
        closed = self.close(self.next)
        self.next += 1
        return fed, closed

    def first(self, query=""):
        self.forget()
        return self.request("GET", "/predictions/current" + query)

    def again(self):
        return self.request("GET", "/predictions/current")

    def resident_mb(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["VmRSS"].split()[0]) / 1024

    def close(self, step):  # pylint: disable=unused-argument
        return 0.0

    def forget(self):
        pass


class Moondial(Program):
    """Its clock stands still between ticks; moving it on waits for all that a tick brings: the
    forecast, storing it, alert rules, the answer."""

    def __init__(self, *flags, folder="scripts/fleet"):
        self.daemon = Daemon(folder, *flags, now_ms=closing_ms(HISTORY_STEPS - 1))

    def __enter__(self):
        self.daemon.start()
        self.attach()
        return self

    def attach(self):
        self.connect(self.daemon.port, self.daemon.process.pid)
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(os.path.join(self.daemon.state, "state", "control.sock"))
        self.answers = self.control.makefile("rb")

    def __exit__(self, *unused):
        self.control.close()
        self.daemon.__exit__()

    def set_clock(self, now_ms):
        self.control.sendall(json.dumps({"op": "clock", "now_ms": now_ms}).encode() + b"\n")
        answer = json.loads(self.answers.readline())
        if not answer["ok"]:
            raise RuntimeError(f"clock: {answer}")

    def close(self, step):
        begun = time.perf_counter()
        self.set_clock(closing_ms(step))
        return 1000 * (time.perf_counter() - begun)

    def forget(self):
        self.request("POST", "/cache/clear")

    def restart(self):
        """Milliseconds from exec to ready, with the windows of the previous life."""
        self.control.close()
        self.daemon.stop()
        begun = time.perf_counter()
        self.daemon.start()
        spent = 1000 * (time.perf_counter() - begun)
        self.attach()
        return spent


class Strict(Moondial):
    """Makes nothing when a step closes: whoever asks first pays for everything."""

    def __init__(self, *flags):
        super().__init__("--forecast-ahead", "nothing", *flags)

    def forget(self):
        pass


class Ahead(Moondial):
    """As it serves: whoever asks first gets what was made when the step closed."""

    def forget(self):
        pass


class Peer(Program):
    """One of the programs in peers/, run by this Python."""

    def __init__(self, name, model, cache, threads=2):
        self.port = free_port()
        self.command = [sys.executable, os.path.join(HERE, "peers", name), "--port",
                        str(self.port), "--model", model, "--cache", cache, "--threads",
                        str(threads)]
        self.process = None

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)
        self.connect(self.port, self.process.pid)
        limit = time.monotonic() + START_S_MAX
        while True:
            try:
                self.request("GET", "/ready")
                return self
            except OSError:
                self.connection.close()
            if self.process.poll() is not None or time.monotonic() > limit:
                self.__exit__()
                raise RuntimeError(f"{self.command[1]} is not ready:\n{self.said()}")
            time.sleep(0.1)

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def said(self):
        self.log.seek(0)
        return self.log.read()[-2000:]

    def stages(self):
        return json.loads(self.request("GET", "/stages")[1])
