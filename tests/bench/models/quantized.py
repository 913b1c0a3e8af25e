"""Quantised forms of models of the table, by onnxruntime.quantization: statically in both of its
formats (QDQ: every tensor between QuantizeLinear and DequantizeLinear; QOperator: QLinearConv and
its like), and dynamically (integer products with scales that are found in each run).

Weights are int8 with a scale for each output channel, activations uint8: what the library
recommends for x86. Calibration sees a few inputs like those that the model is timed with.
"""

import os
import shutil
import tempfile

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization import shape_inference

CALIBRATION_INPUTS = 4

# name: (the model that it is made from, how)
MODELS = {
    "resnet18_qdq": ("resnet18", "QDQ"),
    "resnet18_qoperator": ("resnet18", "QOperator"),
    "resnet50_qdq": ("resnet50", "QDQ"),
    "mobilenet_v2_qdq": ("mobilenet_v2", "QDQ"),
    "mobilenet_v2_qoperator": ("mobilenet_v2", "QOperator"),
    "bert_small_dynamic": ("bert_small", "dynamic"),
}


class Inputs(quantization.CalibrationDataReader):
    """The inputs of the model's file, and others of the same spread."""

    def __init__(self, inputs):
        draw = np.random.default_rng(7)
        others = [{name: draw.permutation(x.ravel()).reshape(x.shape)
                   for name, x in inputs.items()} for _ in range(CALIBRATION_INPUTS - 1)]
        self.left = iter([inputs, *others])

    def get_next(self):
        return next(self.left, None)


def statically(source, target, inputs, form):
    """The shapes that quantization wants to know are found on the way."""
    with tempfile.TemporaryDirectory() as scratch:
        shaped = os.path.join(scratch, "shaped.onnx")
        shape_inference.quant_pre_process(source, shaped, skip_symbolic_shape=True)
        quantization.quantize_static(
            shaped, target, Inputs(inputs), quant_format=quantization.QuantFormat[form],
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8, per_channel=True)


def make(name, folder):
    """Writes NAME.onnx and NAME.npz; the model that it is made from is there already."""
    base, form = MODELS[name]
    source, path = os.path.join(folder, base + ".onnx"), os.path.join(folder, name + ".onnx")
    inputs = dict(np.load(source[:-5] + ".npz"))
    if form == "dynamic":
        quantization.quantize_dynamic(source, path + ".new", per_channel=True,
                                      weight_type=quantization.QuantType.QInt8)
    else:
        statically(source, path + ".new", inputs, form)
    onnx.checker.check_model(path + ".new")
    shutil.copyfile(source[:-5] + ".npz", path[:-5] + ".npz")
    os.replace(path + ".new", path)
