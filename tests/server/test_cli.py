"""run, inspect and bench on the shipped model: files in and out, refusals, reports."""
import json
import os
import random
import shutil
import struct
import tempfile
import unittest
import xml.etree.ElementTree

from daemon import ROOT, run_cli

MODEL = os.path.join(ROOT, "scripts", "fleet", "models", "tft")
BATCH, ENCODER, DECODER = 3, 12, 4


def write_npy(path, descr, shape, values):
    """A .npy file, format 1.0. descr is "<f4" or "<i8"."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    header += " " * (63 - (len(header) + 10) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        code = {"<f4": "f", "<i8": "q"}[descr]
        file.write(struct.pack(f"<{len(values)}{code}", *values))


def read_npy(path):
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack_from("<H", data, 8)[0]
    header = eval(data[10:10 + length].decode(), {})  # a literal that our own binary wrote
    return header, data[10 + length:]


def model_inputs(variables, categories):
    """name: (descr, shape, values) of one well-formed set of inputs."""
    source = random.Random(7)

    def reals(*shape):
        count = 1
        for size in shape:
            count *= size
        return "<f4", shape, [source.uniform(-1, 1) for _ in range(count)]

    def whole(value, *shape):
        count = 1
        for size in shape:
            count *= size
        return "<i8", shape, [value] * count

    return {
        "encoder_cat": whole(0, BATCH, ENCODER, categories),
        "encoder_cont": reals(BATCH, ENCODER, variables),
        "encoder_lengths": whole(ENCODER, BATCH),
        "decoder_cat": whole(0, BATCH, DECODER, categories),
        "decoder_cont": reals(BATCH, DECODER, variables),
        "decoder_lengths": whole(DECODER, BATCH),
        "target_scale": reals(BATCH, 2),
    }


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moondial-run-")
        with open(os.path.join(MODEL, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.inputs = model_inputs(len(config["x_reals"]), len(config["x_categoricals"]))
        self.out = os.path.join(self.folder, "out")

    def tearDown(self):
        shutil.rmtree(self.folder)

    def in_flags(self, inputs):
        flags = []
        for name, (descr, shape, values) in inputs.items():
            path = os.path.join(self.folder, name + ".npy")
            write_npy(path, descr, shape, values)
            flags += ["--in", f"{name}={path}"]
        return flags

    def run_model(self, inputs=None, extra=(), out=True):
        flags = self.in_flags(self.inputs if inputs is None else inputs)
        out_flags = ["--out", self.out] if out else []
        return run_cli("run", MODEL, *flags, *out_flags, *extra)

    def test_bench_takes_inputs_too(self):
        flags = ["bench", MODEL, *self.in_flags(self.inputs), "--threads", "1"]
        code, out, err = run_cli(*flags, "--iterations", "2", "--json")
        self.assertEqual((code, err), (0, ""))
        report = json.loads(out)
        self.assertEqual([row["batch"] for row in report["results"]], [BATCH])
        self.assertEqual((report["symbols"]["batch"], report["symbols"]["decoder"]),
                         (BATCH, DECODER))
        code, out, err = run_cli(*flags, "--passes", "--json")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual({row["batch"] for row in json.loads(out)["passes"]}, {BATCH})
        for more in (["--batch", "3"], ["--symbol", "encoder=3"], ["--rolling"]):
            code, out, err = run_cli(*flags, *more)
            self.assertEqual((code, out), (2, ""))
            self.assertIn("--in", err)

    def test_writes_the_prediction(self):
        code, out, err = self.run_model()
        self.assertEqual((code, out, err), (0, "", ""))
        self.assertEqual(os.listdir(self.out), ["prediction.npy"])
        header, data = read_npy(os.path.join(self.out, "prediction.npy"))
        self.assertEqual(header, {"descr": "<f4", "fortran_order": False,
                                  "shape": (BATCH, DECODER, 7)})
        self.assertEqual(len(data), BATCH * DECODER * 7 * 4)
        self.assertGreater(len(set(struct.unpack("<%df" % (len(data) // 4), data))), 10)

    def test_rows_do_not_depend_on_their_neighbours(self):
        """One row alone gives what it gives among others, on every instruction set."""
        self.assertEqual(self.run_model(extra=["--isa", "reference"])[0], 0)
        _, together = read_npy(os.path.join(self.out, "prediction.npy"))
        alone = {name: (descr, (1, *shape[1:]), values[:len(values) // BATCH])
                 for name, (descr, shape, values) in self.inputs.items()}
        for isa in ("reference", "portable", "auto"):
            code, _, err = self.run_model(alone, ["--isa", isa, "--threads", "1"])
            self.assertEqual(code, 0, err)
            _, first = read_npy(os.path.join(self.out, "prediction.npy"))
            count = len(first) // 4
            want = struct.unpack_from("<%df" % count, together)
            got = struct.unpack("<%df" % count, first)
            largest = max(map(abs, want))
            self.assertLess(max(abs(a - b) for a, b in zip(want, got)), 1e-4 * largest, isa)

    def refuse(self, status, says, inputs=None, extra=(), out=True):
        code, _, err = self.run_model(inputs, extra, out)
        self.assertEqual(code, status, err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertIn(says, err)
        self.assertFalse(os.path.exists(os.path.join(self.out, "prediction.npy")))

    def test_refusals(self):
        good = self.inputs
        path = os.path.join(self.folder, "encoder_cont.npy")
        without = {name: value for name, value in good.items() if name != "decoder_cat"}
        self.refuse(2, '"decoder_cat" is missing', without)
        self.refuse(2, "given twice", extra=["--in", f"encoder_cont={path}"])
        self.refuse(2, 'no input "nonsense"', extra=["--in", f"nonsense={path}"])
        self.refuse(2, 'no input "a=b"', extra=["--in", f"a=b={path}"])
        self.refuse(2, "NAME=FILE", extra=["--in", "encoder_cont"])
        self.refuse(2, "--out", out=False)
        self.refuse(2, "no-such-flag", extra=["--no-such-flag"])
        self.refuse(2, "threads", extra=["--threads", "several"])
        self.refuse(2, "float32", {**good, "encoder_lengths": ("<f4", (BATCH,), [1.0] * BATCH)})
        self.refuse(2, "dimensions", {**good, "encoder_lengths": ("<i8", (BATCH, 1), [3] * BATCH)})
        self.refuse(2, "batch", {**good, "target_scale": ("<f4", (2, 2), [1.0] * 4)})

    def test_unreadable_files(self):
        target = os.path.join(self.folder, "broken.npy")
        with open(target, "wb") as file:
            file.write(b"\x93NUMPY\x01\x00\xff\xff{")
        for path, status in ((target, 2), ("/nonexistent.npy", 2)):
            code, _, err = run_cli("run", MODEL, "--in", f"encoder_cont={path}", "--out", self.out)
            self.assertEqual(code, status, err)
            self.assertIn(path, err)

    def test_models_that_are_none(self):
        onnx = os.path.join(self.folder, "model.onnx")
        with open(onnx, "wb") as file:
            file.write(b"\x08\x07")
        unknown = os.path.join(self.folder, "unknown")
        os.mkdir(unknown)
        with open(os.path.join(unknown, "config.json"), "w", encoding="utf-8") as file:
            file.write('{"model_type": "perceptron"}')
        for path, status, says in ((onnx, 2, "no graph"), (unknown, 3, "perceptron"),
                                   ("/nonexistent", 2, "/nonexistent"), (self.folder, 2, "config")):
            code, _, err = run_cli("run", path, "--out", self.out)
            self.assertEqual((code, err.count("\n")), (status, 1), err)
            self.assertIn(says, err)

    def test_a_model_with_wrong_tensors(self):
        """Cut short, missing and extra tensors are each named."""
        broken = os.path.join(self.folder, "broken")
        shutil.copytree(MODEL, broken)
        weights = os.path.join(broken, "model.safetensors")
        with open(weights, "rb") as file:
            data = file.read()
        length = struct.unpack_from("<Q", data)[0]
        header = json.loads(data[8:8 + length])

        def save(changed):
            text = json.dumps(changed).encode()
            text += b" " * (-len(text) % 8)
            with open(weights, "wb") as file:
                file.write(struct.pack("<Q", len(text)) + text + data[8 + length:])

        name = sorted(name for name in header if name.startswith("lstm"))[0]
        renamed = dict(header)
        renamed["zzz.extra"] = renamed.pop(name)
        for changed, says in ((renamed, name), ({**header, name: {
                **header[name], "shape": [int(n) for n in header[name]["shape"]][::-1] + [1]}},
                name)):
            save(changed)
            code, _, err = run_cli("inspect", broken)
            self.assertEqual((code, err.count("\n")), (2, 1), err)
            self.assertIn(says, err)
        with open(weights, "wb") as file:
            file.write(data[:-100])
        self.assertEqual(run_cli("inspect", broken)[0], 2)
        with open(weights, "wb") as file:
            file.write(data[:8 + length] + struct.pack("<f", float("nan")) * (
                (len(data) - length - 8) // 4))
        code, _, err = run_cli("inspect", broken)
        self.assertEqual((code, err.count("\n")), (2, 1), err)
        self.assertIn("is NaN at element 0", err)

    def test_a_model_with_a_wrong_configuration(self):
        broken = os.path.join(self.folder, "misconfigured")
        shutil.copytree(MODEL, broken)
        path = os.path.join(broken, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        for name, value in (("hidden_size", "x"), ("hidden_size", -1), ("hidden_size", 1e9),
                            ("hidden_size", None), ("attention_head_size", 0),
                            ("attention_head_size", []), ("lstm_layers", 0.5), ("x_reals", None),
                            ("static_reals", 3), ("embedding_sizes", {"status": ["a"]}),
                            ("targets", []), ("output_size", {})):
            with self.subTest(name=name, value=value):
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({**config, name: value}, file)
                code, _, err = run_cli("inspect", broken)
                self.assertEqual((code, err.count("\n")), (2, 1), err)
                self.assertEqual(err.count(broken), 1, err)


class Reports(unittest.TestCase):
    def test_inspect(self):
        code, out, err = run_cli("inspect", MODEL, "--json")
        self.assertEqual((code, err), (0, ""))
        report = json.loads(out)
        self.assertGreater(report["parameters"], 10000)
        inputs = {port["name"]: port for port in report["inputs"]}
        self.assertEqual(inputs["encoder_lengths"], {"name": "encoder_lengths", "dtype": "int64",
                                                     "shape": ["batch"]})
        self.assertEqual(report["outputs"], [{"name": "prediction", "dtype": "float32",
                                              "shape": [1, 96, 7]}])
        self.assertEqual(report["symbols"], {"batch": 1, "encoder": 288, "decoder": 96})
        self.assertEqual(report["regions"]["disagreed"], 0)
        self.assertEqual(report["operators"]["LSTM"], 2)
        self.assertGreater(report["plan"]["flops"], 1e6)
        self.assertGreater(report["plan"]["arena_bytes"], 1e5)
        code, out, _ = run_cli("inspect", MODEL)
        self.assertEqual(code, 0)
        self.assertIn("encoder_cont", out)

    def test_passes_can_be_left_out(self):
        plain = json.loads(run_cli("inspect", MODEL, "--json", "--passes-off",
                                   "lower,chain")[1])
        self.assertEqual(plain["plan"]["fused_steps"], 0)
        self.assertGreater(plain["plan"]["steps"], 500)

    def test_operators_can_be_left_out(self):
        report = json.loads(run_cli("inspect", MODEL, "--json", "--passes-off",
                                    "VariableSelection,compose")[1])
        self.assertNotIn("moondial.VariableSelection", report["operators"])
        self.assertIn("moondial.InterpretableAttention", report["operators"])
        self.assertEqual(report["regions"]["composed"], 0)
        self.assertIn("VariableSelection", report["passes"])
        code, _, err = run_cli("inspect", MODEL, "--passes-off", "VariableSelectio")
        self.assertEqual(code, 2)
        self.assertIn('"VariableSelectio"', err)

    def test_help_lists_every_flag(self):
        for command, flags in (("run", ("--isa", "--pack-cache", "--low-memory", "--passes-off")),
                               ("bench", ("--isa", "--iterations", "--captures-off", "--paced")),
                               ("inspect", ("--isa", "--precision")), ("serve", ("show-config",)),
                               ("test", ("--only",)), ("rehearse", ("--against",))):
            code, out, err = run_cli(command, "--help")
            self.assertEqual((code, err), (0, ""))
            for flag in flags:
                self.assertIn("  " + flag if flag[0] == "-" else flag, out)

    def test_bench_of_passes(self):
        code, out, err = run_cli("bench", MODEL, "--batch", "1", "--passes", "--json", "--threads",
                                 "1", "--symbol", "encoder=3,decoder=2")
        self.assertEqual((code, err), (0, ""))
        rows = {row["without"]: row for row in json.loads(out)["passes"]}
        self.assertEqual(rows["(none)"]["gain"], 1)
        for name in ("fold", "compose", "lower", "VariableSelection"):
            self.assertGreater(rows[name]["gain"], 0)

    def test_bench_with_a_shared_future(self):
        code, out, err = run_cli("bench", MODEL, "--batch", "3", "--iterations", "2", "--json",
                                 "--threads", "1", "--shared-known")
        self.assertEqual((code, err), (0, ""))
        self.assertGreater(json.loads(out)["results"][0]["min_ms"], 0)

    def test_bench_of_rolling_windows(self):
        code, out, err = run_cli("bench", MODEL, "--batch", "3", "--iterations", "2", "--json",
                                 "--threads", "1", "--rolling", "--shared-known")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out)["results"][0]["mode"], "rolling")
        self.assertEqual(run_cli("bench", MODEL, "--rolling", "--passes")[0], 2)
        code, out, err = run_cli("bench", MODEL, "--rolling", "--passes-off", "VariableSelection")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("keeps nothing of windows that roll; inspect says why", err)

    def test_inspect_says_whether_a_model_rolls(self):
        rolling = json.loads(run_cli("inspect", MODEL, "--json")[1])["rolling"]
        self.assertTrue(rolling["rolls"])
        self.assertGreater(rolling["window_bytes"], 19 * 288 * 32 * 4)
        code, out, _ = run_cli("inspect", MODEL, "--passes-off", "VariableSelection")
        self.assertEqual(code, 0)
        self.assertIn("rolling: no, its selection among a history's variables is not fused", out)

    def test_bench(self):
        code, out, err = run_cli("bench", MODEL, "--batch", "1,2", "--iterations", "3", "--json",
                                 "--threads", "1", "--profile", "--symbol", "encoder=24,decoder=8")
        self.assertEqual((code, err), (0, ""))
        report = json.loads(out)
        self.assertEqual([row["batch"] for row in report["results"]], [1, 2])
        for row in report["results"]:
            self.assertEqual((row["threads"], row["iterations"]), (1, 3))
            self.assertLessEqual(row["min_ms"], row["median_ms"])
            self.assertLessEqual(row["median_ms"], row["p95_ms"])
            self.assertGreater(row["gflops"], 0)
            self.assertGreater(row["floor_share"], 0)
        self.assertTrue(report["profile"][0]["op"])
        self.assertGreater(report["profile"][0]["floor_share"], 0)
        for rows in (report["profile"], report["operators"]):
            self.assertEqual({row["others_busy"] for row in rows}, {0})  # one thread has no others
            self.assertAlmostEqual(sum(row["share"] for row in rows), 1, places=3)
        self.assertEqual(sum(row["steps"] for row in report["operators"]), len(report["profile"]))
        self.assertGreater(report["machine"]["fma_gflops"], 0)

    def test_bench_writes_where_the_time_went(self):
        with tempfile.TemporaryDirectory() as folder:
            lines, picture = os.path.join(folder, "stacks.txt"), os.path.join(folder, "flame.svg")
            for path in (lines, picture):
                code, out, err = run_cli("bench", MODEL, "--batch", "1", "--iterations", "2",
                                         "--threads", "1", "--symbol", "encoder=24,decoder=8",
                                         "--profile-out", path)
                self.assertEqual((code, err), (0, ""))
                self.assertIn("of floor", out)
            with open(lines, encoding="utf-8") as file:
                for line in file:
                    self.assertRegex(line, r"^tft;.+ \d+\n$")
            self.assertEqual(xml.etree.ElementTree.parse(picture).getroot().tag,
                             "{http://www.w3.org/2000/svg}svg")
        code, out, err = run_cli("bench", MODEL, "--batch", "1", "--iterations", "1", "--symbol",
                                 "encoder=3,decoder=2", "--profile-out", "/nonexistent/x.svg")
        self.assertEqual((code, err.count("\n")), (2, 1), err)

    def test_bench_refusals(self):
        for flags, says in ((["--batch", "1,x"], "--batch"), (["--batch", "0"], "--batch"),
                            (["--symbol", "encoder"], "--symbol"), (["--symbol", "x=3"], '"x"'),
                            (["--device", "cuda"], "cuda"), (["--iterations", "-1"], "iterations")):
            code, out, err = run_cli("bench", MODEL, *flags)
            self.assertEqual((code, out), (2, ""), flags)
            self.assertIn(says, err)


if __name__ == "__main__":
    unittest.main()
