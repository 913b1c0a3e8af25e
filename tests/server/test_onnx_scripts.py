"""ONNX models in scripts: tensors of every type, calls that share a batch, control flow."""
import concurrent.futures
import json
import os
import re
import shutil
import tempfile
import unittest

from daemon import Daemon

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")

APP = """
local md = require "moondial"
local pooled, choose = md.model("pooled"), md.model("choose")

local function nested(outputs)
    local answer = {}
    for name, tensor in pairs(outputs) do
        answer[name] = { dtype = tensor:dtype(), shape = tensor:shape(), values = tensor:totable() }
    end
    return answer
end

local function answer(outputs, err)
    if not outputs then return md.fail(err) end
    return nested(outputs)
end

return md.app {
    name = "onnx",
    version = "1",
    models = { pooled = { path = "models/pooled.onnx" }, choose = { path = "models/choose.onnx" },
               broken = { path = "models/broken.onnx", optional = true } },
    routes = {
        md.post("/pooled", function(request)
            local given = request:json()
            return answer(pooled:predict {
                ids = md.tensor.from(given.ids, "int64"),
                mask = md.tensor.from(given.mask, "bool"),
                scale = md.tensor.from(given.scale, "float16"),
            })
        end),
        md.post("/choose", function(request)
            local given = request:json()
            return answer(choose:predict {
                double = md.tensor.full({}, given.double and 1 or 0, "bool"),
                trips = md.tensor.full({}, given.trips, "int64"),
                x = md.tensor.from(given.x),
            })
        end),
        md.get("/beside", function()
            local function start(trips)
                return choose:start {
                    double = md.tensor.full({}, 1, "bool"),
                    trips = md.tensor.full({}, trips, "int64"),
                    x = md.tensor.from { 1, 2 },
                }
            end
            local first, second, forgotten = start(1), start(2), start(3)
            local later, sooner = second:wait(), first:wait()
            local again, problem = pcall(second.wait, second)
            local none, why = choose:start {}
            return { first = nested(sooner), second = nested(later), forgotten = forgotten ~= nil,
                again = again, problem = problem, none = none == nil, why = why.code,
                missing = select(2, md.model("broken"):start {}).code }
        end),
        md.get("/call/{name}", function(request)
            return answer(md.model(request.path.name):predict {})
        end),
        md.get("/elements", function()
            local ids = md.tensor.from({ 9007199254740993, -3 }, "int64")
            local half = md.tensor.from({ 0 / 0, 1 / 3 }, "float16")
            local flag = md.tensor.full({ 1 }, 7, "bool")
            return { id = ids:get(2), large = ids:get(1), flag = flag:get(1), third = half:get(2),
                     wide = md.tensor.full({ 2 }, -2 ^ 60, "int64"),
                     wider = md.tensor.full({}, 2 ^ 63, "uint64"),
                     nan = half:get(1) ~= half:get(1) }
        end),
        md.get("/infos", function()
            local info = choose:info()
            return { pooled = pooled:info().inputs, result = info.outputs[1].shape == nil,
                     scanned = #md.models.scan("models") }
        end),
    },
}
"""

CONFIG = "return { request_timeout_ms = 2000 }"


class Onnx(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="moondial-onnx-")
        shutil.copytree(MODELS, os.path.join(cls.folder, "models"))
        cls.daemon = Daemon({"app.lua": APP, "config.lua": CONFIG}, folder=cls.folder).__enter__()
        cls.daemon.wait_ready()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__(None, None, None)
        shutil.rmtree(cls.folder)

    def post(self, path, value):
        return self.daemon.post(path, json.dumps(value))

    def pooled(self, row):
        answer = self.post("/pooled", {
            "ids": [[row, 2, 3]], "mask": [[True, False, True]], "scale": [[row % 16 / 2]]})
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def test_every_type(self):
        outputs = self.pooled(5)
        self.assertEqual(outputs["sum"], {"dtype": "float32", "shape": [1], "values": [8]})
        self.assertEqual(outputs["twice"], {"dtype": "int64", "shape": [1, 3],
                                            "values": [[10, 4, 6]]})
        self.assertEqual(outputs["dropped"]["dtype"], "bool")
        self.assertEqual(outputs["dropped"]["values"], [[0, 1, 0]])
        self.assertEqual(outputs["square"], {"dtype": "float16", "shape": [1, 1],
                                             "values": [[6.25]]})

    def test_concurrent_calls_keep_their_rows(self):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            rows = list(range(120))
            for row, outputs in zip(rows, pool.map(self.pooled, rows)):
                self.assertEqual(outputs["sum"]["values"], [row + 3])
                self.assertEqual(outputs["twice"]["values"], [[2 * row, 4, 6]])
                self.assertEqual(outputs["square"]["values"], [[(row % 16) ** 2 / 4]])

    def choose(self, double, trips, x):
        answer = self.post("/choose", {"double": double, "trips": trips, "x": x})
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def test_control_flow(self):
        outputs = self.choose(True, 3, [1, 0, 2])
        self.assertEqual(outputs["result"]["values"], [2, 0, 4])
        self.assertEqual(outputs["total"]["values"], [4, 0, 8])
        outputs = self.choose(False, 0, [1, 0, 2])
        self.assertEqual(outputs["result"]["values"], [[0, 2]])
        self.assertEqual(outputs["total"]["values"], [1, 0, 2])
        self.assertEqual(self.choose(False, 1, [0, 0])["result"]["shape"], [1, 0])

    def test_predictions_go_on_beside_the_script(self):
        told = self.daemon.get("/beside")
        self.assertEqual(told.status, 200, told.body)
        answer = told.json()
        for trips, name in ((1, "first"), (2, "second")):
            self.assertEqual(answer[name], self.choose(True, trips, [1, 2]))
        self.assertNotEqual(answer["first"], answer["second"])
        self.assertTrue(answer["forgotten"] and answer["none"])
        self.assertFalse(answer["again"])
        self.assertIn("somebody has waited", answer["problem"])
        self.assertEqual((answer["why"], answer["missing"]), ("INVALID_ARGUMENT", "UNAVAILABLE"))

    def test_an_endless_loop_costs_its_own_call(self):
        answer = self.post("/choose", {"double": True, "trips": 2 ** 62, "x": [0.0]})
        self.assertEqual(answer.status, 504, answer.body)
        self.assertEqual(self.choose(True, 1, [1])["total"]["values"], [2])

    def test_elements(self):
        answer = self.daemon.get("/elements").json()
        self.assertEqual(answer["id"], -3)
        self.assertEqual(answer["large"], 2 ** 53)
        self.assertEqual(answer["flag"], 1)
        self.assertIs(answer["nan"], True)
        self.assertEqual(answer["third"], 0.333251953125)
        self.assertEqual(answer["wide"], [-2 ** 60, -2 ** 60])
        self.assertEqual(answer["wider"], 2 ** 63)

    def test_infos(self):
        answer = self.daemon.get("/infos").json()
        self.assertEqual(answer["pooled"][0], {"name": "ids", "dtype": "int64",
                                               "shape": ["batch", "n"]})
        self.assertIs(answer["result"], True)
        self.assertEqual(answer["scanned"], 2)

    def test_wrong_inputs_are_named(self):
        answer = self.post("/pooled", {"ids": [[1]], "mask": [[True, False]],
                                              "scale": [[1]]})
        self.assertEqual(answer.status, 400)
        self.assertTrue(re.search("mask", answer.json()["detail"]), answer.body)

    def test_a_declared_model_that_is_not_loaded_is_unavailable(self):
        for name, status in (("broken", 503), ("nosuch", 404)):
            answer = self.daemon.get("/call/" + name)
            self.assertEqual(answer.status, status, answer.body)
            self.assertIn(name, answer.json()["detail"])


if __name__ == "__main__":
    unittest.main()
