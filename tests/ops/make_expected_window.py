"""Writes tests/ops/expected_window.inc: what onnxruntime, PyTorch and onnx say that convolutions
and poolings give. Run from the repository root:  python tests/ops/make_expected_window.py
"""
import sys

import numpy as np

sys.path.insert(0, "tests/ops")
import make_expected as page  # noqa: E402
import peers  # noqa: E402

rng = np.random.default_rng(5)


def rand(*shape):
    return rng.uniform(-2, 2, shape).astype(np.float32)


def case(label, op, inputs, name, tolerance=1e-5, outputs=1, given=None, **attrs):
    given = given or peers.runtime_gives(op, inputs, outputs, **attrs)
    page.case("%s %s" % (op, label), name, inputs, given, tolerance, **attrs)


def convolutions():
    x, w, b = rand(2, 4, 7, 6), rand(6, 2, 3, 2), rand(6)
    case("grouped", "Conv", [x, w, b], "CONV", group=2, pads=[1, 0, 2, 1], strides=[2, 1])
    case("dilated", "Conv", [x, rand(3, 4, 2, 3)], "CONV", dilations=[3, 2])
    case("lower", "Conv", [x, rand(3, 4, 3, 2)], "CONV", auto_pad="SAME_LOWER", strides=[2, 3])
    case("depthwise line", "Conv", [rand(1, 3, 40), rand(3, 1, 4), rand(3)], "CONV", group=3)
    case("volume", "Conv", [rand(1, 2, 4, 5, 3), rand(2, 2, 2, 3, 2)], "CONV",
         pads=[0, 1, 0, 1, 0, 1])
    half = [t.astype(np.float16) for t in (rand(1, 2, 5), rand(2, 2, 3))]
    exact = peers.runtime_gives("Conv", [t.astype(np.float32) for t in half])[0]
    case("half", "Conv", half, "CONV", 1e-3, given=[exact.astype(np.float16)])
    double = [t.astype(np.float64) for t in half]
    case("double", "Conv", double, "CONV", 1e-12, given=peers.onnx_gives("Conv", double))
    case("strided", "ConvTranspose", [x, rand(4, 3, 3, 2), rand(6)], "CONV_TRANSPOSE", group=2,
         strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 0])
    case("of a given shape", "ConvTranspose", [x, rand(4, 1, 3, 3)], "CONV_TRANSPOSE",
         strides=[2, 2], output_shape=[14, 11], auto_pad="SAME_UPPER")
    case("dilated", "ConvTranspose", [rand(1, 2, 5), rand(2, 3, 3)], "CONV_TRANSPOSE",
         dilations=[2])


def quantised():
    x = rng.integers(0, 255, (1, 2, 5, 4)).astype(np.uint8)
    w = rng.integers(-127, 127, (3, 2, 2, 2)).astype(np.int8)
    case("with zero points", "ConvInteger", [x, w, np.array(7, np.uint8)],
         "CONV_INTEGER", pads=[1, 0, 0, 1])
    scales = rng.uniform(0.01, 0.02, 3).astype(np.float32)
    scalar = [np.array(v, np.float32) for v in (0.013, 0.7)]
    bias = rng.integers(-900, 900, 3).astype(np.int32)
    case("per channel", "QLinearConv",
         [x, scalar[0], np.array(9, np.uint8), w, scales, np.zeros(3, np.int8), scalar[1],
          np.array(120, np.uint8), bias], "QLINEAR_CONV", 0)


def others():
    offset, mask = rand(1, 16, 4, 3), rand(1, 8, 4, 3)
    case("grouped", "DeformConv", [rand(1, 4, 5, 4), rand(2, 2, 2, 2), offset, rand(2), mask],
         "DEFORM_CONV", group=2, offset_group=2)
    inputs = [rand(2, 3, 5), rand(3, 1, 3), rand(3), rand(2, 3, 2)]
    case("silu", "CausalConvWithState", inputs, "CAUSAL_CONV",
         given=peers.onnx_gives("CausalConvWithState", inputs, 2, activation="silu"),
         activation="silu")


def poolings():
    x = rand(1, 2, 6, 5)
    for op, name in (("MaxPool", "MAX_POOL"), ("AveragePool", "AVERAGE_POOL"),
                     ("LpPool", "LP_POOL")):
        case("ceiled", op, [x], name, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1,
             pads=[1, 0, 1, 1])
        case("dilated", op, [x], name, kernel_shape=[2, 3], dilations=[3, 1])
        case("over the end", op, [x], name, kernel_shape=[8, 5], strides=[3, 2], ceil_mode=1)
    case("by column", "MaxPool", [x], "MAX_POOL", outputs=2, kernel_shape=[2, 2],
         storage_order=1)
    case("of int8", "MaxPool", [(x * 50).astype(np.int8)], "MAX_POOL", kernel_shape=[2, 2],
         auto_pad="SAME_UPPER", strides=[2, 2])
    case("counting pads", "AveragePool", [x], "AVERAGE_POOL", kernel_shape=[3, 3],
         pads=[1, 1, 1, 1], strides=[2, 2], ceil_mode=1, count_include_pad=1)
    for op, name in (("GlobalMaxPool", "GLOBAL_MAX_POOL"),
                     ("GlobalAveragePool", "GLOBAL_AVERAGE_POOL")):
        case("", op, [x], name)
    case("of 3", "GlobalLpPool", [x], "GLOBAL_LP_POOL",
         given=[np.cbrt((np.abs(x) ** 3).sum((2, 3), keepdims=True))], p=3)
    y, at = peers.runtime_gives("MaxPool", [x[:, :, :4, :4]], 2, kernel_shape=[2, 2],
                                strides=[2, 2])
    case("", "MaxUnpool", [y, at], "MAX_UNPOOL", kernel_shape=[2, 2], strides=[2, 2])
    rois = np.float32([[0, 1, 0, 8, 7], [0, 3, 3, 3, 20]])
    case("", "MaxRoiPool", [x, rois], "MAX_ROI_POOL",
         given=peers.runtime_gives("MaxRoiPool", [x, rois], opset=12, pooled_shape=[2, 3],
                                   spatial_scale=0.5),
         pooled_shape=[2, 3], spatial_scale=0.5)


if __name__ == "__main__":
    for part in (convolutions, quantised, others, poolings):
        part()
    page.write("tests/ops/expected_window.inc", "make_expected_window.py",
               "what onnxruntime and onnx say operators give")
