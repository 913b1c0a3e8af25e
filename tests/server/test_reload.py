"""Changing scripts and models under a running daemon: by hand, by saving, under load."""
import json
import os
import shutil
import signal
import socket
import threading
import time
import unittest

from daemon import BINARY, ROOT, Daemon, run_cli

FULL = os.environ.get("MOONDIAL_FULL") == "1"
SANITIZED = any(name in BINARY for name in ("/asan/", "/tsan/"))
SCRIPT_RELOADS, MODEL_RELOADS, CONNECTIONS = 200, 20, 32
MODEL = os.path.join(ROOT, "tests", "reference", "tft", "fleet_small", "model")

APP = """
local md = require "moondial"
local number = require "number"

local SIZES = { batch = 2, encoder = 12, decoder = 4 }
local LENGTHS = { encoder_lengths = 12, decoder_lengths = 4, target_scale = 1 }

local function inputs(model)
    local given = {}
    for _, port in ipairs(model:info().inputs) do
        local shape = {}
        for axis, size in ipairs(port.shape) do
            shape[axis] = SIZES[size] or size
        end
        given[port.name] = md.tensor.full(shape, LENGTHS[port.name] or 0, port.dtype)
    end
    return given
end

return md.app {
    name = "probe", version = tostring(number),
    models = { m = { path = "models/m", optional = true } },
    routes = {
        md.get("/number", function() return { number = number, again = require "number" } end),
        md.post("/echo/{name}", function(request)
            return { name = request.path.name, body = request.body }
        end),
        md.get("/nap", function() md.sleep(0.02) return { number = number } end),
        md.get("/predict", function()
            local model = md.model "m"
            local outputs, why = model:predict(inputs(model))
            if not outputs then return md.fail(why) end
            return outputs
        end),
        md.get("/events", function()
            return md.stream(function(stream)
                while stream:send { data = { number = number } } do
                    if not md.sleep(0.02) then return end
                end
            end)
        end),
    },
}
"""


def flat(nested):
    return [value for inner in nested for value in flat(inner)] if isinstance(nested, list) \
        else [nested]


def number(value):
    return f"return {value}\n"


class Edited:
    """A daemon on a folder of this app whose one number is edited."""

    def __init__(self, *flags, model=False, files=None):
        app = APP if model else APP.replace('models = { m', '-- models = { m')
        self.daemon = Daemon({"app.lua": app, "number.lua": number(1), **(files or {})},
                             flags)
        if model:
            shutil.copytree(MODEL, os.path.join(self.daemon.folder, "models", "m"))

    def __enter__(self):
        self.daemon.start()
        self.daemon.wait_ready()
        return self

    def __exit__(self, *unused):
        self.daemon.__exit__()

    def path(self, name):
        return os.path.join(self.daemon.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def number(self):
        return self.daemon.get("/number").json()["number"]

    def wait_number(self, wanted, seconds=30):
        end = time.monotonic() + seconds
        with_connection = self.daemon.connect()
        while time.monotonic() < end:
            answer = self.daemon.get("/number", connection=with_connection)
            if answer.json()["number"] == wanted:
                with_connection.close()
                return
            time.sleep(0.002)
        raise AssertionError(f"{wanted} never came: " + " | ".join(self.daemon.log))


class ByHand(unittest.TestCase):
    def test_signal_admin_and_command(self):
        socket_path = f"/tmp/moondial-reload-{os.getpid()}.sock"
        with Edited("--no-watch", "--control", socket_path) as edited:
            daemon = edited.daemon
            edited.write("number.lua", number(2))
            time.sleep(0.2)
            self.assertEqual(edited.number(), 1)
            daemon.process.send_signal(signal.SIGHUP)
            edited.wait_number(2)
            edited.write("number.lua", number(3))
            report = daemon.post("/admin/scripts/reload", "").json()
            self.assertEqual((report["generation"], report["changed"]), (3, ["number.lua"]))
            self.assertEqual(edited.number(), 3)
            edited.write("number.lua", number(4))
            status, out, _ = run_cli("reload", "--control", socket_path)
            self.assertEqual(status, 0)
            self.assertIn("generation 4 serves: number.lua", out)
            self.assertEqual(edited.number(), 4)
            status, out, _ = run_cli("rollback", "--control", socket_path, "--json")
            self.assertEqual((status, json.loads(out)["generation"]), (0, 5))
            self.assertEqual(edited.number(), 3)
            report = daemon.post("/admin/scripts/rollback", "").json()
            self.assertEqual((report["generation"], edited.number()), (6, 2))
            edited.write("number.lua", "return")
            edited.write("app.lua", APP.replace("md.post(", "md.pots("))
            status, _, problem = run_cli("reload", "--control", socket_path)
            self.assertEqual(status, 2)
            self.assertEqual(len(problem.strip().split("\n")), 1)
            self.assertIn("app.lua:", problem)

    def test_what_is_told(self):
        with Edited("--no-watch") as edited:
            daemon = edited.daemon
            state = daemon.get("/admin/scripts").json()
            self.assertEqual((state["generation"], state["last_reload"], state["rollback_to"]),
                             (1, None, None))
            self.assertEqual({file["path"] for file in state["files"]}, {"app.lua", "number.lua"})
            self.assertIn("GET /number", [hook["name"] for hook in state["hooks"]])
            edited.write("number.lua", "return 1 +\n")
            answer = daemon.post("/admin/scripts/reload", "")
            self.assertEqual(answer.status, 500)
            self.assertRegex(answer.json()["detail"], r"^number\.lua:\d+: ")
            health = daemon.get("/health").json()
            self.assertIn("generation 1 goes on: number.lua:", health["degraded"][0])
            state = daemon.get("/admin/scripts").json()
            self.assertIn("number.lua:", state["last_reload"]["error"])
            daemon.wait_log("reload refused (generation 1 goes on): number.lua:")
            metrics = daemon.get("/metrics").body.decode()
            self.assertIn("moondial_script_last_reload_ok 0", metrics)
            self.assertIn('moondial_script_reloads_total{result="failed"} 1', metrics)
            self.assertIn("moondial_script_generation 1\n", metrics)
            self.assertEqual(edited.number(), 1)
            edited.write("number.lua", number(2))
            self.assertEqual(daemon.post("/admin/scripts/reload", "").status, 200)
            self.assertEqual(daemon.get("/health").json()["degraded"], [])
            metrics = daemon.get("/metrics").body.decode()
            self.assertIn("moondial_script_last_reload_ok 1", metrics)
            self.assertIn("moondial_script_generation 2\n", metrics)

    def test_declared_models_change_with_the_scripts(self):
        with Edited("--no-watch", model=True) as edited:
            daemon = edited.daemon
            before = daemon.get("/predict").body
            edited.write("app.lua", APP.replace('"models/m", optional = true', '"models/none"'))
            answer = daemon.post("/admin/scripts/reload", "")
            self.assertEqual(answer.status, 404)
            self.assertIn("models/none", answer.json()["detail"])
            self.assertEqual(daemon.get("/predict").body, before)
            os.rename(edited.path("models/m"), edited.path("models/n"))
            edited.write("app.lua", APP.replace('"models/m", optional = true', '"models/n"'))
            self.assertEqual(daemon.post("/admin/scripts/reload", "").status, 200)
            self.assertEqual(daemon.get("/predict").body, before)
            self.assertEqual(daemon.get("/health").json()["degraded"], [])
            edited.write("app.lua", APP.replace('models = { m', 'models = { other'))
            os.rename(edited.path("models/n"), edited.path("models/m"))
            self.assertEqual(daemon.post("/admin/scripts/reload", "").status, 200)
            end = time.monotonic() + 30
            while daemon.get("/predict").status == 200: # m leaves with the old scripts
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)

    def test_models(self):
        with Edited("--no-watch", model=True) as edited:
            daemon = edited.daemon
            before = daemon.get("/predict")
            self.assertEqual(before.status, 200, before.body)
            for query in ("name=m", "path=models/m", "name=other&path=models/m"):
                answer = daemon.post("/admin/reload-model?" + query, "")
                self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(answer.json()["name"], "other")
            for query, status in (("", 400), ("name=none", 404), ("path=models/none", 404),
                                  ("path=../", 400), ("path=models/../..", 400)):
                self.assertEqual(daemon.post("/admin/reload-model?" + query, "").status, status)
            self.assertEqual(daemon.get("/predict").body, before.body)


class BySaving(unittest.TestCase):
    def test_a_mistake_and_its_correction(self):
        with Edited() as edited:
            edited.write("number.lua", number(2))
            edited.wait_number(2)
            edited.write("number.lua", "retrun 3")
            edited.daemon.wait_log("number.lua:1:")
            self.assertEqual(edited.number(), 2)
            self.assertEqual(len(edited.daemon.get("/health").json()["degraded"]), 1)
            time.sleep(6) # the slow scan finds nothing that has not been tried
            self.assertEqual(edited.daemon.get("/admin/scripts").json()["failures"], 1)
            edited.write("number.lua", number(2)) # what is served already
            end = time.monotonic() + 20
            while edited.daemon.get("/health").json()["degraded"] and time.monotonic() < end:
                time.sleep(0.02)
            self.assertEqual(edited.daemon.get("/health").json()["degraded"], [])
            edited.daemon.wait_log("the files are those of generation 2 again")

    def test_errors_bring_the_old_back(self):
        with Edited("--rollback-calls-min", "5") as edited:
            edited.write("app.lua", APP.replace("models = {", "-- models = {")
                         .replace("{ number = number, again", "{ number = nil + 1, again"))
            end = time.monotonic() + 30
            while "rolled back" not in str(edited.daemon.get("/health").json()["degraded"]):
                edited.daemon.get("/number")
                self.assertLess(time.monotonic(), end, edited.daemon.log)
            self.assertEqual(edited.number(), 1)
            self.assertIn("files on disk", edited.daemon.get("/health").json()["degraded"][0])
            self.assertIn('moondial_script_rollbacks_total{cause="errors"} 1',
                          edited.daemon.get("/metrics").body.decode())

    def test_a_model_folder_changes(self):
        with Edited(model=True) as edited:
            metrics = edited.daemon.get("/predict")
            self.assertEqual(metrics.status, 200)
            config = edited.path("models/m/config.json")
            with open(config, encoding="utf-8") as file:
                text = file.read()
            edited.write("models/m/config.json", "{")
            end = time.monotonic() + 30
            while not edited.daemon.get("/health").json()["degraded"]:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
            self.assertEqual(edited.daemon.get("/predict").status, 200) # by the old one
            os.rename(edited.path("models/m"), edited.path("models/away"))
            while "does not exist" not in str(edited.daemon.get("/health").json()["degraded"]):
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
            self.assertEqual(edited.daemon.get("/predict").status, 200)
            os.rename(edited.path("models/away"), edited.path("models/m"))
            edited.write("models/m/config.json", text + "\n")
            while edited.daemon.get("/health").json()["degraded"]:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
            self.assertEqual(edited.daemon.get("/predict").status, 200)


# ---- under load ---------------------------------------------------------------------------------

class Load:
    """32 connections that ask mixed routes and check every answer, and one event stream."""

    def __init__(self, edited):
        self.edited = edited
        self.stopping = False
        self.newest = 1 # the number written last
        self.problems, self.answers, self.events = [], 0, 0
        self.expected = flat(edited.daemon.get("/predict").json()["prediction"])
        self.threads = [threading.Thread(target=self.guard, args=(self.client, index))
                        for index in range(CONNECTIONS)]
        self.threads.append(threading.Thread(target=self.guard, args=(self.listen, 0)))
        for thread in self.threads:
            thread.start()

    def guard(self, run, index):
        try:
            run(index)
        except Exception as problem: # pylint: disable=broad-except
            self.problems.append(repr(problem))

    def check(self, good, answer):
        self.answers += 1
        if not good:
            self.problems.append((answer.status, answer.body[:200]))

    def number_is_right(self, answer, oldest):
        if answer.status != 200:
            return False
        body = answer.json()
        return (oldest <= body["number"] <= self.newest and
                body.get("again", body["number"]) == body["number"])

    def is_forecast(self, answer):
        """Up to rounding, which depends on who shares the batch."""
        got = flat(answer.json()["prediction"])
        return len(got) == len(self.expected) and all(
            abs(one - other) <= 1e-4 * (1 + abs(other))
            for one, other in zip(got, self.expected))

    def client(self, index):
        daemon, connection = self.edited.daemon, self.edited.daemon.connect()
        turn = index
        while not self.stopping:
            oldest = self.served
            turn += 1
            if turn % 16 == 0:
                answer = daemon.get("/predict", connection=connection)
                self.check(answer.status == 200 and self.is_forecast(answer), answer)
            elif turn % 4 == 0:
                answer = daemon.post(f"/echo/n{turn}", f"b{turn}", connection=connection)
                self.check(answer.status == 200 and
                           answer.json() == {"name": f"n{turn}", "body": f"b{turn}"}, answer)
            else:
                path = "/nap" if turn % 4 == 1 else "/number"
                answer = daemon.get(path, connection=connection)
                self.check(self.number_is_right(answer, oldest), answer)
            time.sleep(0.02)
        connection.close()

    served = 1 # a number that was seen to be served: no request from then on may get an older one

    def listen(self, _):
        """Comes back whenever its stream ends, as browsers do."""
        while not self.stopping:
            with socket.create_connection(("127.0.0.1", self.edited.daemon.port), 30) as stream:
                stream.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
                head = b""
                while not self.stopping:
                    piece = stream.recv(65536)
                    if not piece:
                        break
                    head = head or piece
                    self.events += piece.count(b"data:")
                if head and not head.startswith(b"HTTP/1.1 200 "):
                    self.problems.append(head[:200])

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def resident_kb(daemon):
    with open(f"/proc/{daemon.process.pid}/status", encoding="utf-8") as file:
        return int(file.read().split("VmRSS:")[1].split()[0])


class UnderLoad(unittest.TestCase):
    def reload_models(self, edited, count, load):
        for _ in range(count):
            before = self.loads(edited)
            weights = edited.path("models/m/model.safetensors")
            shutil.copyfile(weights, weights + ".tmp")
            os.rename(weights + ".tmp", weights)
            end = time.monotonic() + 60
            while self.loads(edited) == before:
                if time.monotonic() > end:
                    load.problems.append("the model was not loaded")
                    return
                time.sleep(0.02)

    @staticmethod
    def loads(edited):
        return sum("loaded from" in line for line in list(edited.daemon.log))

    def test_nothing_fails_and_nothing_stays(self):
        edits = SCRIPT_RELOADS if FULL or not SANITIZED else SCRIPT_RELOADS // 10
        loads = MODEL_RELOADS if FULL or not SANITIZED else MODEL_RELOADS // 5
        with Edited(model=True) as edited:
            load = Load(edited)
            models = threading.Thread(target=self.reload_models, args=(edited, loads, load))
            models.start()
            resident = []
            for value in range(2, edits + 2):
                load.newest = value
                edited.write("number.lua.tmp", number(value))
                os.rename(edited.path("number.lua.tmp"), edited.path("number.lua"))
                edited.wait_number(value, 60)
                load.served = value
                resident.append(resident_kb(edited.daemon))
            models.join()
            load.stop()
            self.assertEqual(load.problems[:5], [])
            self.assertGreater(load.answers, 10 * edits)
            self.assertGreater(load.events, edits)
            state = edited.daemon.get("/admin/scripts").json()
            self.assertEqual((state["generation"], state["failures"]), (edits + 1, 0))
            self.assertGreaterEqual(self.loads(edited), loads + 1)
            if not SANITIZED: # which keep what is freed
                quarter = len(resident) // 4
                middle = sorted(resident[2 * quarter:3 * quarter])
                last = sorted(resident[-quarter:])
                self.assertLess(last[quarter // 2] - middle[quarter // 2], 8192, resident)
                print(f"{load.answers} answers, {load.events} events, resident "
                      f"{middle[quarter // 2]} to {last[quarter // 2]} KB", flush=True)


if __name__ == "__main__":
    unittest.main()
