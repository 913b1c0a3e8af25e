"""A fleet daemon whose time a script moves on: the same simulated records always give the same
forecasts, alerts and grades, as fast as the machine computes them. For quality and night.

    with Daemon(folder, state, origin_ms) as daemon:
        for time_ms, records in simulated(servers=20, days=1, seed=1):
            daemon.feed(records)
            daemon.close_step(time_ms + STEP_MS)

The daemon is the real one, over HTTP; it stands still (clock_speed 0) until the control socket sets
its clock, and answers when the ticks that are due have run.
"""
import csv
import datetime
import http.client
import itertools
import json
import os
import re
import socket
import subprocess
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BINARY = os.environ.get("MOONDIAL", os.path.join(ROOT, "build", "release", "moondial"))
STEP_MS = 300000
GRACE_MS = 10000 # scripts/fleet/config.lua: grace_s
RECORDS_PER_POST = 4000


def to_ms(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def clock_text(time_ms):
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.timezone.utc)
    return moment.strftime("%a %H:%M")


def simulated(servers, days, seed, start="2026-01-05", scenario="healthy", strike=""):
    """(time, records) of each step, from examples/fleet/simulator."""
    command = ["luajit", os.path.join(ROOT, "examples/fleet/simulator/export.lua"),
               "--servers", str(servers), "--days", str(days), "--seed", str(seed),
               "--start", start, "--scenario", scenario, "--strike", strike]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        rows = csv.DictReader(process.stdout)
        for moment, group in itertools.groupby(rows, key=lambda row: row["timestamp"]):
            yield to_ms(moment), [record_of(row) for row in group]
    finally:
        process.stdout.close()
        process.terminate()
        process.wait()


def record_of(row):
    names = ("timestamp", "server_name", "profile", "status")
    record = {name: row[name] for name in names}
    record.update((name, float(value)) for name, value in row.items()
                  if name not in names and name != "problem_child")
    return record


class Daemon:
    """moondial serve on a free port."""

    def __init__(self, folder, state, origin_ms, flags=()):
        self.now_ms = origin_ms
        self.log = []
        self.port = None
        listening = threading.Event()
        self.process = subprocess.Popen(
            [BINARY, "serve", folder, "--listen", "127.0.0.1:0", "--state", state, "--clock-speed",
             "0", "--clock-origin-ms", str(origin_ms), *flags],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")

        def read():
            for line in self.process.stderr:
                self.log.append(line.rstrip("\n"))
                found = re.search(r"http://[\d.]+:(\d+)", line)
                if found and self.port is None:
                    self.port = int(found.group(1))
                    listening.set()
            listening.set()

        threading.Thread(target=read, daemon=True).start()
        listening.wait(60)
        if self.port is None:
            raise RuntimeError("the daemon did not start: " + " | ".join(self.log[-5:]))
        self.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(os.path.join(state, "control.sock"))
        self.answers = self.control.makefile("r")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.control.close()
        self.process.terminate()
        self.process.wait(60)

    def wait_ready(self):
        """The model is loaded, timers and ticks have begun."""
        self.ask(op="clock", now_ms=self.now_ms)

    def request(self, method, path, body=None):
        self.http.request(method, path, body=None if body is None else json.dumps(body))
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300].decode()}")
        return json.loads(text)

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body):
        return self.request("POST", path, body)

    def feed(self, records):
        for begin in range(0, len(records), RECORDS_PER_POST):
            self.post("/feed/data", {"records": records[begin:begin + RECORDS_PER_POST]})

    def wait_log(self, part, seconds=10):
        """The first line of the log with this in it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.log):
                if part in line:
                    return line
            time.sleep(0.02)
        raise RuntimeError(f"the log never said \"{part}\": " + " | ".join(self.log[-5:]))

    def ask(self, **request):
        self.control.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(self.answers.readline())
        if not answer["ok"]:
            raise RuntimeError(f"{request['op']}: {answer['detail']}")
        return answer

    def close_step(self, end_ms):
        """Time goes on to the end of a step; what is due then has been done."""
        self.now_ms = end_ms + GRACE_MS
        self.ask(op="clock", now_ms=self.now_ms)
