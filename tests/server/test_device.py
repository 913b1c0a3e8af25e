"""Where models run: --device of run, inspect and serve without a driver, with a broken one, and on
the emulated device, whose kernels are the GPU's, compiled for the host."""
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
import unittest

import onnx_bytes as onnx
from daemon import BINARY, Daemon, run_cli
from test_cli import read_npy, write_npy
from test_onnx import APP, affine

EMULATED = os.path.join(os.path.dirname(BINARY), "tests", "libmoondial_emulated.so")
NONE = {"MOONDIAL_CUDA": "/nonexistent"}


def elementwise():
    """y = Tanh(|x|) + |x|: of operators that devices have had first."""
    return affine(nodes=[onnx.node("Abs", ["x"], ["a"]), onnx.node("Tanh", ["a"], ["t"]),
                         onnx.node("Add", ["t", "a"], ["y"])])


def on(device):
    return {"MOONDIAL_CUDA": EMULATED, **device}


class Commands(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moondial-device-")
        self.model = os.path.join(self.folder, "affine.onnx")
        with open(self.model, "wb") as file:
            file.write(elementwise())
        write_npy(os.path.join(self.folder, "x.npy"), "<f4", [3, 2], [1, 2, -3, 4, 0.5, -6])

    def tearDown(self):
        shutil.rmtree(self.folder)

    def run_on(self, env, *flags):
        code, out, err = run_cli("run", self.model, "--in", f"x={self.folder}/x.npy", "--out",
                                 self.folder, *flags, env=env)
        self.assertEqual((code, out), (0, ""), err)
        _, data = read_npy(os.path.join(self.folder, "y.npy"))
        return struct.unpack(f"<{len(data) // 4}f", data), err

    def inspect(self, env, *flags):
        code, out, err = run_cli("inspect", self.model, "--json", *flags, env=env)
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def test_without_a_driver_the_cpu_does_it(self):
        self.assertEqual(self.inspect(NONE)["device"],
                         {"runs": "cpu", "why": "there is no driver at /nonexistent"})
        self.assertEqual(self.inspect(NONE, "--device", "cpu")["device"]["why"], "asked for")
        self.run_on(NONE)

    def test_a_gpu_that_is_asked_for_must_be_there(self):
        for env, device, says in ((NONE, "cuda", "no driver at /nonexistent"),
                                  ({"MOONDIAL_CUDA": BINARY}, "cuda", "cannot be loaded"),
                                  (on({}), "cuda:7", "no number 7"),
                                  (on({}), "cuda:", "none of auto"),
                                  (on({}), "cuda:x", "none of auto"),
                                  (on({}), "cudas", "none of auto")):
            with self.subTest(device=device, says=says):
                code, _, err = run_cli("inspect", self.model, "--device", device, env=env)
                self.assertEqual(code, 2, err)
                self.assertIn(says, err)
                self.assertEqual(len(err.splitlines()), 1)

    def test_a_file_that_is_no_driver_leaves_it_to_the_cpu(self):
        path = os.path.join(self.folder, "broken.so")
        with open(path, "wb") as file:
            file.write(b"\x7fELF broken")
        self.assertIn("cannot be loaded", self.inspect({"MOONDIAL_CUDA": path})["device"]["why"])

    def test_our_own_driver_says_why_it_has_no_gpu(self):
        """Of a build with CUDA, on a machine without a GPU."""
        path = os.path.join(os.path.dirname(BINARY), "libmoondial_cuda.so")
        if not os.path.exists(path) or os.path.exists("/proc/driver/nvidia/version"):
            self.skipTest("no CUDA in this build, or a GPU in this machine")
        why = self.inspect({})["device"]["why"]
        if "another version" in why:
            self.skipTest("libmoondial_cuda.so is older than the binary: build moondial_cuda")
        self.assertIn(why, ("no NVIDIA driver", "no NVIDIA GPU"))

    def test_the_emulated_device_gives_what_the_cpu_gives(self):
        want, _ = self.run_on(NONE)
        for precision, tolerance in (("fp32", 1e-6), ("fp16", 5e-3), ("bf16", 4e-2),
                                     ("auto", 5e-3)):
            with self.subTest(precision=precision):
                have, err = self.run_on(on({}), "--device", "cuda", "--precision", precision)
                self.assertEqual(err, "")
                largest = max(map(abs, want))
                self.assertLess(max(abs(a - b) for a, b in zip(want, have)), tolerance * largest)
        report = self.inspect(on({}), "--device", "cuda")
        self.assertEqual(report["device"]["runs"], "emulated")
        self.assertEqual(report["device"]["precision"], "fp16")
        self.assertGreater(report["places"]["device"], 0)
        self.assertGreater(report["places"]["copies"], 1)

    def test_a_device_that_fails_leaves_it_to_the_cpu(self):
        want, _ = self.run_on(NONE)
        have, err = self.run_on(on({"MOONDIAL_EMULATED_FAIL": "0"}), "--device", "cuda")
        self.assertEqual(have, want)
        self.assertIn("the CPU takes over", err)

    def test_a_missing_driver_is_named_with_what_builds_it(self):
        alone = os.path.join(self.folder, "moondial")
        shutil.copy(BINARY, alone)
        done = subprocess.run([alone, "inspect", self.model, "--device", "cuda"], check=False,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("libmoondial_cuda.so is not beside the binary", done.stderr)
        self.assertIn("--target moondial_cuda", done.stderr)

    def test_a_precision_that_the_cpu_lacks_is_told(self):
        for precision, said in (("fp16", 1), ("bf16", 1), ("fp32", 0), ("auto", 0)):
            with self.subTest(precision=precision):
                _, err = self.run_on(NONE, "--precision", precision)
                self.assertEqual(err.count("the CPU computes in float32"), said, err)

    def test_precisions_are_named(self):
        code, _, err = run_cli("inspect", self.model, "--precision", "fp8", env=NONE)
        self.assertEqual(code, 2)
        self.assertIn("auto, fp32, fp16, bf16", err)


class Service(unittest.TestCase):
    def serve(self, env, *flags, app=APP):
        daemon = Daemon({"app.lua": app}, flags, env=env)
        path = os.path.join(daemon.folder, "models")
        os.makedirs(path)
        with open(os.path.join(path, "affine.onnx"), "wb") as file:
            file.write(elementwise())
        return daemon

    def predict(self, daemon, rows):
        """As soon as the model is loaded, which may be after the daemon listens."""
        for _ in range(600):
            answer = daemon.post("/predict", json.dumps({"x": rows}).encode())
            if b"is not loaded" not in answer.body:
                break
            time.sleep(0.05)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()["y"]

    def metric(self, daemon, name):
        lines = daemon.get("/metrics").body.decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), None)

    def test_serves_on_the_cpu_and_says_why(self):
        with self.serve(NONE) as daemon:
            health = daemon.get("/health").json()
            self.assertEqual(health["device"],
                             {"runs": "cpu", "why": "there is no driver at /nonexistent"})
            self.assertEqual(health["degraded"], [])
            self.assertIsNone(self.metric(daemon, "moondial_device_usable"))
            self.predict(daemon, [[1, 2]])

    def test_serves_on_the_device_in_padded_batches(self):
        rows = [[1, 2], [3, -4], [5, 6], [-7, 8], [9, 0.5]]
        with self.serve(NONE) as daemon:
            want = self.predict(daemon, rows)
        with self.serve(on({}), "--device", "cuda") as daemon:
            self.assertEqual(daemon.get("/health").json()["device"],
                             {"runs": "emulated", "name": "emulated device", "index": 0,
                              "precision": "auto"})
            for _ in range(3):
                for have, wanted in zip(self.predict(daemon, rows), want):
                    for a, b in zip(have, wanted):
                        self.assertAlmostEqual(a, b, delta=5e-3 * max(map(abs, wanted)))
            self.assertEqual(self.metric(daemon, "moondial_device_usable"), 1)
            self.assertGreater(
                self.metric(daemon, 'moondial_device_runs_total{result="done"}'), 2)
            self.assertGreater(self.metric(daemon, "moondial_device_captures_total"), 0)

    def declared(self, text):
        """APP with more in its model's declaration."""
        whole = APP.replace('path = "models/affine.onnx"', text)
        self.assertNotEqual(whole, APP)
        return whole

    def test_a_declaration_says_how_its_model_runs(self):
        """Where it lies, in what precision it runs, how many rows of a batch it gets."""
        folder = tempfile.mkdtemp(prefix="moondial-device-")
        self.addCleanup(shutil.rmtree, folder)
        with open(os.path.join(folder, "elsewhere.onnx"), "wb") as file:
            file.write(elementwise())
        app = self.declared(f'path = "{folder}/elsewhere.onnx", precision = "bf16", batch_max = 3')
        rows = [[1.01, 2.02], [3.03, -4.04], [5.05, 6.06], [-7.07, 8.08], [9.09, 0.507]]
        with self.serve(NONE) as daemon:
            want = self.predict(daemon, rows)
        with self.serve(on({}), "--device", "cuda", "--precision", "fp32", app=app) as daemon:
            have = self.predict(daemon, rows)
            worst = max(abs(a - b) for x, y in zip(want, have) for a, b in zip(x, y))
            self.assertLess(worst, 4e-2 * 9.09)
            self.assertGreater(worst, 1e-4, "that is float32")
            self.assertEqual(daemon.get("/model").json()["batch_max"], 3)
            self.assertEqual(self.metric(daemon, "moondial_batch_rows_sum"), 5)
            self.assertEqual(self.metric(daemon, "moondial_batch_rows_count"), 2)

    def test_batches_begin_as_large_as_the_device_suggests(self):
        """Of the emulated device nothing is known but a lot of memory."""
        for env, flags, rows in ((NONE, [], 32), (on({}), ["--device", "cuda"], 256),
                                 (on({}), ["--device", "cuda", "--batch-max", "7"], 7)):
            with self.subTest(rows=rows), self.serve(env, *flags) as daemon:
                self.predict(daemon, [[1, 2]])
                self.assertEqual(daemon.get("/model").json()["batch_max"], rows)

    def test_a_declaration_is_checked(self):
        for text, says in (('path = "models/x", precision = "fp8"', "fp8"),
                           ('path = "models/x", batch_max = 0', "whole number"),
                           ('path = "models/x", batch_max = 2.5', "whole number"),
                           ('path = "models/x", batchmax = 2', "did you mean 'batch_max'")):
            with self.subTest(says=says):
                folder = tempfile.mkdtemp(prefix="moondial-device-")
                self.addCleanup(shutil.rmtree, folder)
                with open(os.path.join(folder, "app.lua"), "w", encoding="utf-8") as file:
                    file.write(self.declared(text))
                code, out, err = run_cli("check", folder, env=NONE)
                self.assertNotEqual(code, 0)
                self.assertIn(says, out + err)

    def test_a_device_lost_while_loading_degrades_the_service(self):
        with self.serve(NONE) as daemon:
            want = self.predict(daemon, [[1, 2]])
        with self.serve(on({"MOONDIAL_EMULATED_FAIL": "0"}), "--device", "cuda") as daemon:
            self.assertEqual(self.predict(daemon, [[1, 2]]), want)
            health = daemon.get("/health").json()
            self.assertEqual(health["device"]["runs"], "cpu")
            self.assertIn("cannot be used any more", health["device"]["why"])
            self.assertEqual(len(health["degraded"]), 1)
            self.assertIn("told to fail", health["degraded"][0])
            self.assertEqual(self.metric(daemon, "moondial_device_usable"), 0)


if __name__ == "__main__":
    unittest.main()
