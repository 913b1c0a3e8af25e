"""ONNX files: run and inspect, refusals with their exit status, and a service that loads one."""
import json
import os
import shutil
import struct
import tempfile
import threading
import unittest

import onnx_bytes as onnx
from daemon import Daemon, run_cli
from test_cli import read_npy, write_npy

APP = """
local md = require "moondial"

local function predict(request)
    local outputs, why = md.model("affine"):predict { x = md.tensor.from(request:json().x) }
    if not outputs then
        return 500, { error = tostring(why) }
    end
    return { y = outputs.y:totable() }
end

return md.app {
    name = "affine",
    version = "1",
    models = { affine = { path = "models/affine.onnx" } },
    routes = {
        md.get("/model", { key = false }, function() return md.model("affine"):info() end),
        md.post("/predict", { key = false }, predict),
    },
}
"""


def affine(**changes):
    """y = Relu(x W + b), x [batch, 2]; W in the file, or where `weight` says."""
    weight = changes.get("weight", onnx.floats("W", [2, 3], [1, 2, 3, 4, 5, 6]))
    nodes = changes.get("nodes", [onnx.node("MatMul", ["x", "W"], ["h"]),
                                  onnx.node("Add", ["h", "b"], ["s"]),
                                  onnx.node("Relu", ["s"], ["y"], name="last")])
    body = onnx.graph(nodes, [onnx.value("x", onnx.FLOAT, ["batch", 2])],
                      [onnx.value("y", onnx.FLOAT, ["batch", 3])],
                      [weight, onnx.floats("b", [3], [-20, 0, 1])])
    return onnx.model(body, changes.get("version", 17), changes.get("opsets", ()),
                      changes.get("functions", ()), changes.get("ir_version", 8))


X, Y = [1, 1, 2, 0], [0, 7, 10, 0, 4, 7]


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moondial-onnx-")
        self.out = os.path.join(self.folder, "out")
        self.x = self.path("x.npy")
        write_npy(self.x, "<f4", [2, 2], X)

    def tearDown(self):
        shutil.rmtree(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def save(self, content, name="m.onnx"):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def run_model(self, content):
        return run_cli("run", self.save(content), "--in", "x=" + self.x, "--out", self.out)

    def check_runs(self, content):
        code, _, err = self.run_model(content)
        self.assertEqual((code, err), (0, ""))
        header, data = read_npy(os.path.join(self.out, "y.npy"))
        self.assertEqual((header["descr"], header["shape"]), ("<f4", (2, 3)))
        self.assertEqual(list(struct.unpack("<6f", data)), Y)

    def check_refused(self, status, says, content):
        code, _, err = self.run_model(content)
        self.assertEqual((code, err.count("\n")), (status, 1), err)
        self.assertIn(says, err)
        self.assertIn("m.onnx", err)

    def test_runs(self):
        self.check_runs(affine())

    def test_nodes_out_of_order(self):
        nodes = [onnx.node("Relu", ["s"], ["y"]), onnx.node("Add", ["h", "b"], ["s"]),
                 onnx.node("MatMul", ["x", "W"], ["h"])]
        self.check_runs(affine(nodes=nodes))

    def test_functions(self):
        layer = onnx.function("Layer", "own", ["a", "w", "c"], ["r"],
                              [onnx.node("MatMul", ["a", "w"], ["h"]),
                               onnx.node("Add", ["h", "c"], ["s"]),
                               onnx.node("Relu", ["s"], ["r"])], [onnx.opset(17)])
        self.check_runs(affine(nodes=[onnx.node("Layer", ["x", "W", "b"], ["y"], domain="own")],
                               functions=[layer], opsets=[onnx.opset(1, "own")]))

    def test_missing_support_is_named(self):
        frob = onnx.node("Frob", ["x"], ["y"], domain="com.foo", name="odd")
        text = "operator com.foo.Frob (opset 3) at node \"odd\""
        self.check_refused(3, text, affine(nodes=[frob], opsets=[onnx.opset(3, "com.foo")]))
        self.check_refused(3, "opset 99", affine(version=99))
        self.check_refused(3, "IR version 99", affine(ir_version=99))
        self.check_refused(3, "float8e4m3fn", affine(weight=onnx.tensor("W", 17, [2, 3])))

    def test_broken_files(self):
        self.check_refused(2, "com.foo", affine(nodes=[onnx.node("Frob", ["x"], ["y"],
                                                                 domain="com.foo")]))
        self.check_refused(2, "cycle", affine(nodes=[onnx.node("Add", ["x", "t"], ["y"]),
                                                     onnx.node("Relu", ["y"], ["t"])]))
        self.check_refused(2, '"nowhere"', affine(nodes=[onnx.node("Relu", ["nowhere"], ["y"])]))
        self.check_refused(2, "24 bytes",
                           affine(weight=onnx.floats("W", [2, 3], [1, 2])))
        self.check_refused(2, "not an ONNX model", b"")
        self.check_refused(2, "cut short", affine()[:-5])

    def test_truncated_anywhere(self):
        content = affine()
        for length in range(0, len(content), 7):
            self.check_refused(2, "m.onnx: ", content[:length])

    def test_external_data(self):
        with open(self.path("w.bin"), "wb") as file:
            file.write(bytes(16) + struct.pack("<6f", 1, 2, 3, 4, 5, 6))
        os.symlink("/etc/hostname", self.path("link.bin"))

        def weight(**entries):
            return affine(weight=onnx.external("W", [2, 3], **entries))

        self.check_runs(weight(location="w.bin", offset=16, length=24))
        self.check_runs(weight(location="./w.bin", offset=16))
        for says, entries in (("within", {"location": "w.bin", "offset": 17}),
                              ("within", {"location": "w.bin", "offset": 2**64 - 8}),
                              ("takes 24 bytes", {"location": "w.bin", "offset": 0, "length": 8}),
                              ("model's folder", {"location": "../w.bin"}),
                              ("model's folder", {"location": "a/../../w.bin"}),
                              ("model's folder", {"location": "/etc/hostname"}),
                              ("link", {"location": "link.bin"}),
                              ("no file", {"location": "none.bin"}),
                              ("no location", {}),
                              ("offset", {"location": "w.bin", "offset": "-1"})):
            with self.subTest(says=says, entries=entries):
                self.check_refused(2, says, weight(**entries))

    def test_inspect(self):
        code, out, err = run_cli("inspect", self.save(affine()), "--json", "--symbol", "batch=5")
        self.assertEqual((code, err), (0, ""))
        report = json.loads(out)
        self.assertEqual(report["inputs"],
                         [{"name": "x", "dtype": "float32", "shape": ["batch", 2]}])
        # What the passes made of MatMul, Add and Relu.
        self.assertEqual(report["operators"], {"moondial.Linear": 1})
        self.assertEqual(report["parameters"], 9)
        self.assertGreater(report["plan"]["flops"], 0)
        self.assertEqual(sum(report["places"][place] for place in
                             ("kernels", "reference", "control")), report["plan"]["steps"])
        code, out, _ = run_cli("inspect", self.path("m.onnx"))
        self.assertEqual(code, 0)
        self.assertIn("what runs where", out)

    def test_inspect_keeps_controls_from_the_terminal(self):
        name = "x\x1b[2J\n"
        body = onnx.graph([onnx.node("Relu", [name], ["y"])],
                          [onnx.value(name, onnx.FLOAT, ["n\r", 2])], [onnx.value("y")])
        code, out, err = run_cli("inspect", self.save(onnx.model(body)))
        self.assertEqual((code, err), (0, ""))
        self.assertIn("x?[2J?  ", out)
        self.assertIn("n?  ", out)
        self.assertNotIn("\x1b", out)

    def test_bench_of_fixed_sizes(self):
        body = onnx.graph([onnx.node("Relu", ["x"], ["y"])], [onnx.value("x", onnx.FLOAT, [2, 2])],
                          [onnx.value("y")])
        path = self.save(onnx.model(body))
        code, out, err = run_cli("bench", path, "--json", "--iterations", "3")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual([row["batch"] for row in json.loads(out)["results"]], [1])
        code, _, err = run_cli("bench", path, "--batch", "7")
        self.assertEqual((code, err.count("\n")), (2, 1), err)
        self.assertIn("--symbol", err)

    def test_bench_names_the_sizes_it_ran_with(self):
        body = onnx.graph([onnx.node("Relu", ["x"], ["y"])],
                          [onnx.value("x", onnx.FLOAT, ["batch", "n"])], [onnx.value("y")])
        path = self.save(onnx.model(body))
        given = ("bench", path, "--symbol", "n=5", "--batch", "2", "--iterations", "3")
        code, out, err = run_cli(*given)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("n=5\n", out)
        code, out, err = run_cli(*given, "--json")
        self.assertEqual(json.loads(out)["symbols"], {"batch": 2, "n": 5})

    def test_bench_with_inputs_from_files(self):
        body = onnx.graph([onnx.node("Relu", ["x"], ["y"])],
                          [onnx.value("x", onnx.FLOAT, ["batch", "n"])], [onnx.value("y")])
        path, values = self.save(onnx.model(body)), os.path.join(self.folder, "x.npy")
        write_npy(values, "<f4", [2, 3], range(6))
        code, out, err = run_cli("bench", path, "--in", f"x={values}", "--iterations", "2",
                                 "--json")
        self.assertEqual((code, err), (0, ""))
        report = json.loads(out)
        self.assertEqual(len(report["results"]), 1)
        self.assertGreater(report["load_ms"], 0)
        self.assertGreater(report["peak_mb"], 1)
        code, out, err = run_cli("bench", path, "--in", f"z={values}")
        self.assertEqual((code, out), (2, ""))
        self.assertIn('"z"', err)

    def test_bench_at_the_pace_of_another_program(self):
        body = onnx.graph([onnx.node("Relu", ["x"], ["y"])], [onnx.value("x", onnx.FLOAT, [2, 2])],
                          [onnx.value("y")])
        code, out, err = run_cli("bench", self.save(onnx.model(body)), "--paced",
                                 typed="0.01\n0\n")
        self.assertEqual((code, err), (0, ""))
        ready, first, second = map(json.loads, out.splitlines())
        self.assertTrue(ready["ready"])
        self.assertGreater(first["iterations"], 1)
        self.assertEqual(second["iterations"], 1)
        self.assertLessEqual(first["min_ms"], first["median_ms"])

    def test_inspect_without_a_plan(self):
        body = onnx.graph([onnx.node("MatMul", ["x", "x"], ["y"])], [onnx.value("x")],
                          [onnx.value("y")])
        code, out, err = run_cli("inspect", self.save(onnx.model(body)), "--json")
        self.assertEqual((code, err), (0, ""))
        report = json.loads(out)
        self.assertIsNone(report["plan"])
        self.assertIn("MatMul", report["no_plan"])
        self.assertIsNone(report["inputs"][0]["shape"])


class Service(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moondial-onnx-")
        os.mkdir(os.path.join(self.folder, "models"))
        with open(os.path.join(self.folder, "models", "affine.onnx"), "wb") as file:
            file.write(affine())

    def tearDown(self):
        shutil.rmtree(self.folder)

    def test_a_script_calls_it(self):
        with Daemon({"app.lua": APP}, folder=self.folder) as daemon:
            daemon.wait_ready()
            info = daemon.get("/model").json()
            self.assertEqual(info["parameters"], 9)
            self.assertEqual(info["inputs"][0]["name"], "x")
            answers = []

            def client():
                for _ in range(10):
                    answers.append(daemon.post("/predict", json.dumps({"x": [[1, 1], [2, 0]]})))

            clients = [threading.Thread(target=client) for _ in range(4)]
            for one in clients:
                one.start()
            for one in clients:
                one.join()
            self.assertEqual(len(answers), 40)
            for answer in answers:
                self.assertEqual(answer.status, 200, answer.body)
                self.assertEqual(answer.json()["y"], [Y[:3], Y[3:]])


if __name__ == "__main__":
    unittest.main()
