"""A daemon whose time stands still between steps, with rules on one column, and receivers that
record what they are told.

    with Receiver() as hook, Night(webhook(hook)) as night:
        night.step(a=97)                       # a minute passes; server a sent 97
        night.pass_s(30)
        message = hook.wait(1)[0]              # {"path", "headers", "body", "json"}
"""
import datetime
import http.server
import json
import os
import shutil
import socket
import tempfile
import threading
import time

from daemon import Daemon
from test_control import Peer

ORIGIN_MS = 1767225600000
STEP_MS = 60000

APP = """
local md = require "moondial"
return md.app { name = "night",
    series = { servers = { key = "server", time = "at", step_s = 60, steps = 10, grace_s = 1,
        columns = { { name = "cpu" } } } },
    alerts = { series = "servers", entity = "server", notify = require "notify",
        rules = {
            { name = "hot", severity = "critical", watch = md.current { "cpu" }, above = 90,
                labels = { team = "infra" }, summary = "{server} is at {value:.0f} %" },
            { name = "warm", severity = "warning", watch = md.current { "cpu" }, above = 80 },
        } },
    routes = {
        md.post("/feed", function(request)
            local fed, why = md.series("servers"):feed(request.body)
            if not fed then return md.fail(why) end
            return { accepted = fed.accepted }
        end),
        md.get("/active", function()
            return { alerts = md.json.array(md.alerts.active { state = "all" }) }
        end),
        md.post("/silence", function(request)
            local id, why = md.alerts.silence(request:json())
            if not id then return md.fail(why) end
            return { id = id }
        end),
        md.get("/silences", function() return md.json.array(md.alerts.silences()) end),
        md.delete("/silences/{id}", function(request)
            local done, why = md.alerts.expire(request.path.id)
            if not done then return md.fail(why) end
            return { done = done }
        end),
    } }
"""


def wait_until(true, what, seconds=40):
    """What true() gives, once that is something."""
    end = time.monotonic() + seconds
    while True:
        got = true()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"never came: {what() if callable(what) else what}")
        time.sleep(0.02)


def iso(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ")


class Receiver:
    """An HTTP server that records every request and answers as it is told.

    `answers` holds what the next requests get, then it is 200: a status, (status, headers), bytes
    that are no HTTP, or an Event that is waited for before 200."""

    def __init__(self, *answers, port=0):
        self.answers = list(answers)
        self.says = b""  # the body of every answer
        self.messages = []
        self.attempts = 0
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                receiver.handle(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02},
                         daemon=True).start()

    def handle(self, request):
        body = request.rfile.read(int(request.headers["Content-Length"]))
        with self.lock:
            self.attempts += 1
            answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, threading.Event):
            answer.wait(60)
            answer = 200
        if isinstance(answer, bytes):
            request.wfile.write(answer)
            request.close_connection = True
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        if status == 200:
            with self.lock:
                self.messages.append({"path": request.path, "headers": dict(request.headers),
                                      "body": body, "json": json.loads(body),
                                      "key": request.headers["Idempotency-Key"],
                                      "at": time.monotonic()})
        try:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(self.says)))
            request.end_headers()
            request.wfile.write(self.says)
        except OSError:
            pass  # the client has gone

    def wait(self, count, seconds=40):
        """The messages that were taken, once there are so many."""
        wait_until(lambda: len(self.messages) >= count,
                   lambda: f"message {count}: {[m['body'] for m in self.messages]}", seconds)
        return self.messages

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def lua(value):
    """A JSON-like value as Lua."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"[{json.dumps(key)}] = {lua(of)}"
                                for key, of in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "{ " + ", ".join(lua(of) for of in value) + " }"
    return json.dumps(value)


def webhook(receiver, **more):
    url = receiver if isinstance(receiver, str) else receiver.url
    return {"kind": "webhook", "name": "hook", "url": url, "group_wait_s": 30, **more}


class Night:
    """The daemon; receivers as data, and more of notify.lua by name."""

    def __init__(self, *receivers, origin_ms=ORIGIN_MS, app=APP, **notify):
        self.state = tempfile.mkdtemp(prefix="moondial-night-")
        self.now_ms = origin_ms
        self.notify = notify
        self.daemon = Daemon({"app.lua": app, "notify.lua": self.text(receivers)})

    def text(self, receivers):
        return "return " + lua({"receivers": list(receivers), **self.notify}) + "\n"

    def start(self):
        self.daemon.flags = ["--state", self.state, "--clock-speed", "0", "--clock-origin-ms",
                             str(self.now_ms)]
        self.daemon.start()
        self.daemon.wait_ready()

    def restart(self, kill=True):
        (self.daemon.kill if kill else self.daemon.stop)()
        self.start()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.daemon.__exit__()
        shutil.rmtree(self.state)

    def write(self, *receivers):
        """Changes notify.lua, which the daemon takes over."""
        self.daemon.replace("notify.lua", self.text(receivers))

    def pass_s(self, seconds):
        self.now_ms += seconds * 1000
        with Peer(os.path.join(self.state, "control.sock")) as peer:
            answer = peer.ask(op="clock", now_ms=self.now_ms)
        assert answer["ok"], answer

    def feed(self, **values):
        records = [{"server": server, "at": iso(self.now_ms), "cpu": value}
                   for server, value in values.items()]
        answer = self.daemon.post("/feed", json.dumps({"records": records}))
        assert answer.status == 200 and answer.json()["accepted"] == len(values), answer.body

    def step(self, **values):
        """What the servers send in this minute, and its end."""
        self.feed(**values)
        self.pass_s((STEP_MS - self.now_ms % STEP_MS) // 1000 + 1)

    def minutes(self, count, **values):
        for _ in range(count):
            self.step(**values)

    def active(self):
        return self.daemon.get("/active").json()["alerts"]

    def alert(self, rule, server):
        return next(a for a in self.active() if (a["rule"], a["server"]) == (rule, server))

    def silence(self, **fields):
        answer = self.daemon.post("/silence", json.dumps({"author": "ann", **fields}))
        assert answer.status == 200, answer.body
        return answer.json()["id"]

    def metric(self, name, **labels):
        """The value of a series, 0 where there is none."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        for line in self.daemon.get("/metrics").body.decode().splitlines():
            if not line.startswith(name + "{"):
                continue
            inside, value = line[len(name) + 1:].rsplit("} ", 1)
            if wanted <= set(inside.split(",")):
                return float(value)
        return 0.0
