"""Hostile scripts, one a file in hostile/: each ends, is answered as it says, and harms nobody.

A file's second line says what to expect: a status, then one of

    time      stopped for its time budget, and counted so
    memory    stopped for its memory, and counted so
    script    a script error
    TEXT      in the body

`replaced` at the end: its Lua state is built anew. Time is that of a clock on the wall: where other
processes take it, any script that works for long may be stopped for it, before it has come to what
it does. For `memory`, and for a text with `or time` after it, both are right. While each
one runs another client asks for sums and must get them; afterwards the state must be as clean as
ever.
"""
import os
import re
import threading
import unittest

import onnx_bytes as onnx
from daemon import BINARY, Daemon

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile")
SLOWED = 4 if re.search("asan|tsan", BINARY) else 1  # how much a sanitizer costs, at least
FLAGS = ["--states", "2", "--handler-budget-ms", str(500 * SLOWED),
         "--request-timeout-ms", str(1500 * SLOWED), "--request-bytes-max", "40000000",
         "--state-bytes-max", "64000000", "--response-bytes-max", "10000000"]
# What one request keeps is then well above half of its state's memory, which costs it the state.
TEXTS = {"time": "it runs longer than its time budget", "memory": "not enough memory",
         "script": "script error in GET"}

APP = """
local md = require "moondial"

local function is_clean()
    return #string == 0 and ("ab"):len() == 2 and ("ab"):upper() == "AB" and #md == 0
        and string.format("%d", 7) == "7" and md.json.encode({ 1 }) == "[1]"
        and not rawget(md, "get") and getmetatable("") == false
        and not pcall(function() return leaked end)
        and table.concat({ 1, 2 }, ",") == "1,2" and next({}) == nil
end

local routes = {
    md.get("/clean", { key = false }, function() return is_clean() and "clean" or "dirty" end),
    md.get("/sum", { key = false }, function(request)
        local sum = 0
        for n in request.query.n:gmatch("%d+") do
            sum = sum + tonumber(n)
        end
        return { sum = sum }
    end),
}
for _, name in ipairs { NAMES } do
    routes[#routes + 1] = md.get("/hostile/" .. name, { key = false }, require("hostile." .. name))
end

return md.app { name = "hostile", version = "1", routes = routes,
    models = { affine = { path = "models/affine.onnx" } } }
"""


def read_cases():
    cases = {}
    for file in sorted(os.listdir(HERE)):
        with open(os.path.join(HERE, file), encoding="utf-8") as lines:
            text = lines.read()
        status, rest = re.match(r"-- .*\n-- expect: (\d+) ?(.*)\n", text).groups()
        replaced = rest.endswith("replaced")
        expected = rest.removesuffix("replaced").strip()
        cases[file.removesuffix(".lua")] = (text, int(status), expected, replaced)
    return cases


def affine():
    body = onnx.graph([onnx.node("MatMul", ["x", "W"], ["y"])],
                      [onnx.value("x", onnx.FLOAT, ["batch", 2])],
                      [onnx.value("y", onnx.FLOAT, ["batch", 3])],
                      [onnx.floats("W", [2, 3], [1, 2, 3, 4, 5, 6])])
    return onnx.model(body)


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cases = read_cases()
        files = {f"hostile/{name}.lua": case[0] for name, case in cls.cases.items()}
        files["app.lua"] = APP.replace("NAMES", ", ".join(f'"{name}"' for name in cls.cases))
        cls.daemon = Daemon(files, FLAGS)
        os.makedirs(os.path.join(cls.daemon.folder, "models"))
        with open(os.path.join(cls.daemon.folder, "models", "affine.onnx"), "wb") as file:
            file.write(affine())
        cls.daemon.start()
        cls.daemon.wait_ready()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()

    def metric(self, name, *labels):
        """The sum over all label values that hold every one of these texts."""
        text = self.daemon.get("/metrics").body.decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith(name) and all(label in line for label in labels))

    def kills(self, name, reason):
        return self.metric("moondial_script_kills_total", f'"GET /hostile/{name}"',
                           f'reason="{reason}"')

    def ask_beside(self, name):
        """The answer of the case; meanwhile, and at least once, a client gets its sums."""
        answers, sums = [], 0
        case = threading.Thread(target=lambda: answers.append(self.daemon.get("/hostile/" + name)))
        case.start()
        connection = self.daemon.connect()
        while case.is_alive() or sums == 0:
            answer = self.daemon.get(f"/sum?n={sums},{name},40", connection=connection)
            self.assertEqual((answer.status, answer.json()), (200, {"sum": sums + 40}))
            sums += 1
        case.join()
        connection.close()
        self.assertTrue(answers, "no answer")
        return answers[0]

    def check(self, name, status, expected, replaced):
        kills = {reason: self.kills(name, reason) for reason in ("time", "memory")}
        states = self.metric("moondial_lua_states_replaced_total")
        answer = self.ask_beside(name)
        body = answer.body.decode(errors="replace")
        if TEXTS["time"] in body and (expected == "memory" or expected.endswith(" or time")):
            status, expected, replaced = 500, "time", None  # None: may be
        expected = expected.removesuffix(" or time")
        self.assertEqual(answer.status, status, body)
        self.assertIn(TEXTS.get(expected, expected), body)
        if status == 500:
            self.assertIn("GET /hostile/" + name, body)
        if expected in kills:
            self.assertEqual(self.kills(name, expected), kills[expected] + 1)
        if replaced is not None:
            self.assertEqual(self.metric("moondial_lua_states_replaced_total") > states, replaced)
        for _ in range(4):  # both states
            self.assertEqual(self.daemon.get("/clean").body, b"clean")

    def test_every_script_ends_and_harms_nobody(self):
        self.assertGreaterEqual(len(self.cases), 40)
        for name, (_, status, expected, replaced) in self.cases.items():
            with self.subTest(name):
                self.check(name, status, expected, replaced)

    def test_log_floods_are_cut(self):
        flood = len([line for line in self.daemon.log if "flood" in line])
        while not any("lines of scripts left out" in line for line in self.daemon.log):
            self.assertIn(self.daemon.get("/hostile/log_flood").status, (200, 500))
        flood = len([line for line in self.daemon.log if "flood" in line]) - flood
        self.assertLess(flood, 1e4)


STREAMS = """
local md = require "moondial"
local kept, stop = nil, false

local function serve(stream)
    kept = stream
    stream:send "first"
    while not stop do
        md.sleep(0.01)
    end
    stream:send "last"
end

local function steal()
    local sent, why = kept:send "stolen"
    return { sent = sent, why = why and why.code, closed = kept:closed() }
end

return md.app {
    name = "streams", version = "1",
    routes = {
        md.get("/open", { key = false }, function() return md.stream(serve) end),
        md.get("/steal", { key = false }, steal),
        md.get("/stop", { key = false }, function() stop = true end),
    },
}
"""


class KeptStreams(unittest.TestCase):
    def test_a_stream_is_its_own_request_s(self):
        """Another request finds it in a local of the file, while it is open and after its end."""
        with Daemon({"app.lua": STREAMS}, ["--states", "1"]) as daemon:
            texts = []
            client = threading.Thread(target=lambda: texts.append(daemon.get("/open").body))
            client.start()
            answer = daemon.get("/steal")
            while answer.status == 500:  # it is not open yet
                answer = daemon.get("/steal")
            self.assertEqual(answer.json(), {"why": "FORBIDDEN", "closed": True})
            self.assertEqual(daemon.get("/stop").status, 204)
            client.join()
            self.assertIn(b"first", texts[0])
            self.assertIn(b"last", texts[0])
            self.assertNotIn(b"stolen", texts[0])
            self.assertEqual(daemon.get("/steal").json(), {"why": "CANCELLED", "closed": True})


if __name__ == "__main__":
    unittest.main()
