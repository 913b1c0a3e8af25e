#!/usr/bin/env python3
"""Writes ONNX models of the networks in networks.py, with inputs and ONNX Runtime's answers.

    python make.py --small fixtures          what the repository keeps: narrow, a few 100 KB each
    python make.py FOLDER [NAME ...] --vary  the published sizes, for tests/reference/models/run

A model is a folder NAME/ with model.onnx, in.INPUT.npy and out.OUTPUT.npy; ONNX Runtime runs with
all its optimisations off, so that its answers are the operators' own. `NAME_int8` is NAME after
ONNX Runtime's static quantiser, in the QDQ form; its answers on integers, with all optimisations
on, are kept beside as integers.OUTPUT.npy. PyTorch writes the files through both of its exporters
(see networks.py), because users' files come from both.
"""

import argparse
import os
import re
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization

import networks

# How much longer an axis gets under --vary; a picture's sides must fit the network's strides.
STEPS = {"height": 16, "width": 32, "length": 5, "rows": 4}
QUANTISED = ("resnet50", "mobilenet_v3")


def export(network, path):
    names = list(network.inputs)
    if network.dynamo:
        sizes = {symbol: torch.export.Dim(symbol, min=1, max=4096)
                 for axes in network.varying.values() for symbol in axes.values()}
        shapes = tuple({axis: sizes[symbol] for axis, symbol in network.varying.get(n, {}).items()}
                       for n in names)
        program = torch.onnx.export(network.module, tuple(network.inputs.values()), dynamo=True,
                                    input_names=names, output_names=network.outputs,
                                    dynamic_shapes=shapes, opset_version=network.opset,
                                    verbose=False)
        program.save(path, external_data=False)
    else:
        torch.onnx.export(network.module, tuple(network.inputs.values()), path, dynamo=False,
                          input_names=names, output_names=network.outputs,
                          dynamic_axes=network.varying, opset_version=network.opset)
    model = onnx.load(path)
    for node in list(model.graph.node) + [n for f in model.functions for n in f.node]:
        node.doc_string = ""
        del node.metadata_props[:]      # stack traces of the exporter: larger than the weights
    onnx.checker.check_model(model)
    onnx.save(model, path)


class Samples(quantization.CalibrationDataReader):
    def __init__(self, inputs, count=8):
        generator = np.random.default_rng(0)
        self.rows = iter([{name: generator.standard_normal(x.shape).astype(x.dtype)
                           for name, x in inputs.items()} for _ in range(count)])

    def get_next(self):
        return next(self.rows, None)


def quantise(folder, inputs, target):
    os.makedirs(target, exist_ok=True)
    quantization.quantize_static(
        os.path.join(folder, "model.onnx"), os.path.join(target, "model.onnx"), Samples(inputs),
        quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8)


def vary(network):
    """Inputs of other sizes than the example's, along the axes that may vary."""
    longer = {}
    varied = {}
    for name, value in network.inputs.items():
        for axis, symbol in network.varying.get(name, {}).items():
            size = longer.setdefault(symbol, value.shape[axis] + STEPS.get(symbol, 1))
            picked = torch.randint(0, value.shape[axis], (size,))
            value = value.index_select(axis, picked)
        varied[name] = value
    return varied


def file_name(port):
    """The name that `moondial run` gives a port's file."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", port)


def write_answers(folder, inputs, kind, level):
    """What ONNX Runtime gives at a level of its optimisations, as KIND.OUTPUT.npy."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options,
                                           providers=["CPUExecutionProvider"])
    taken = {i.name for i in session.get_inputs()}
    results = session.run(None, {n: x for n, x in inputs.items() if n in taken})
    named = {port.name: value for port, value in zip(session.get_outputs(), results)}
    for name, value in named.items():
        np.save(os.path.join(folder, f"{kind}.{file_name(name)}.npy"), value)
    return named


def answer(folder, inputs):
    """Runs the model in ONNX Runtime and writes inputs and outputs beside it."""
    for name, value in inputs.items():
        # a port's name may hold any character but a slash
        np.save(os.path.join(folder, f"in.{name}.npy"), value)
    levels = onnxruntime.GraphOptimizationLevel
    if folder.endswith("_int8"):
        write_answers(folder, inputs, "integers", levels.ORT_ENABLE_ALL)
    return write_answers(folder, inputs, "out", levels.ORT_DISABLE_ALL)


def make(name, small, varied, target):
    network = networks.make(name, small)
    folder = os.path.join(target, name)
    os.makedirs(folder, exist_ok=True)
    export(network, os.path.join(folder, "model.onnx"))
    inputs = {n: x.numpy() for n, x in (vary(network) if varied else network.inputs).items()}
    folders = [folder]
    if name in QUANTISED:
        quantise(folder, {n: x.numpy() for n, x in network.inputs.items()}, folder + "_int8")
        folders.append(folder + "_int8")
    for each in folders:
        results = answer(each, inputs)
        size = os.path.getsize(os.path.join(each, "model.onnx"))
        shapes = ", ".join(f"{n} {list(x.shape)}" for n, x in results.items())
        print(f"{os.path.basename(each):20} {size / 1e6:8.2f} MB   {shapes}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", help="the folder to write to")
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(networks.NETWORKS))
    parser.add_argument("--small", action="store_true", help="narrow networks, for fixtures")
    parser.add_argument("--vary", action="store_true", help="inputs of other sizes than exported")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in options.names or networks.NETWORKS:
        make(name, options.small, options.vary, options.target)


if __name__ == "__main__":
    main()
