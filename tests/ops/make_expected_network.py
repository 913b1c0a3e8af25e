"""Writes tests/ops/expected_network.inc: what onnxruntime and onnx say that normalisations, image
operators, recurrences and attention give. Run from the repository root:
python tests/ops/make_expected_network.py
"""
import sys

import numpy as np

sys.path.insert(0, "tests/ops")
import make_expected as page  # noqa: E402
import peers  # noqa: E402

rng = np.random.default_rng(9)


def rand(*shape):
    return rng.uniform(-2, 2, shape).astype(np.float32)


def case(label, op, inputs, name, tolerance=1e-5, outputs=1, opset=22, **attrs):
    given = peers.runtime_gives(op, inputs, outputs, opset=opset, **attrs)
    page.case("%s %s" % (op, label), name, inputs, given, tolerance, **attrs)


def by_onnx(label, op, inputs, name, tolerance=1e-5, outputs=1, **attrs):
    given = peers.onnx_gives(op, inputs, outputs, **attrs)
    page.case("%s %s" % (op, label), name, inputs, given, tolerance, **attrs)


def norms():
    x = rand(2, 4, 3)
    by_onnx("with statistics", "LayerNormalization", [x, rand(4, 3), rand(3)], "LAYER_NORM",
            outputs=3, axis=1, epsilon=1e-3)
    double = x.astype(np.float64)
    by_onnx("of double", "LayerNormalization", [double, double[0, 0], double[0, 1]], "LAYER_NORM",
            1e-9, epsilon=0.25)
    by_onnx("", "RMSNormalization", [x, rand(3)], "RMS_NORM")
    parameters = [rand(4), rand(4), rand(4), np.abs(rand(4))]
    case("", "BatchNormalization", [x] + parameters, "BATCH_NORM")
    by_onnx("in training", "BatchNormalization", [x] + parameters, "BATCH_NORM", outputs=3,
            training_mode=1, momentum=0.75)
    case("", "InstanceNormalization", [x] + parameters[:2], "INSTANCE_NORM")
    case("", "GroupNormalization", [x] + parameters[:2], "GROUP_NORM", num_groups=2, opset=21)
    case("", "LRN", [rand(2, 4, 3, 1)], "LRN", size=3, alpha=0.5, beta=0.75, bias=2.0, opset=13)
    case("", "MeanVarianceNormalization", [rand(2, 3, 2, 2)], "MEAN_VARIANCE_NORM", 1e-4, opset=13)


def images():
    x = rand(1, 1, 3, 4)
    for mode in ("nearest", "linear", "cubic"):
        for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
            case("%s %s" % (mode, coordinates), "Resize",
                 [x, None, None, np.array([1, 1, 5, 3], np.int64)], "RESIZE", opset=19, mode=mode,
                 coordinate_transformation_mode=coordinates)
    case("antialiased", "Resize", [x, None, np.float32([1, 1, 0.5, 0.6])], "RESIZE", opset=19,
         mode="linear", antialias=1)
    case("cubic, nothing outside", "Resize", [x, None, np.float32([1, 1, 2, 1.5])], "RESIZE",
         opset=19, mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)
    by_onnx("cropped", "Resize", [x, np.float32([0, 0.2, 0.5, 1.2]), None,
                                  np.array([3, 4], np.int64)], "RESIZE", mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize", axes=[2, 3],
            extrapolation_value=7.0)
    whole = np.arange(12, dtype=np.int64).reshape(3, 4) + 2**60
    by_onnx("nearest of int64, one axis", "Resize", [whole, None, np.float32([2])], "RESIZE", 0,
            axes=[1])
    grid = rng.uniform(-1.5, 1.5, (1, 2, 3, 2)).astype(np.float32)
    for mode in ("linear", "nearest", "cubic"):
        for padding in ("zeros", "border", "reflection"):
            case("%s %s" % (mode, padding), "GridSample", [x, grid], "GRID_SAMPLE", mode=mode,
                 padding_mode=padding)
    by_onnx("", "AffineGrid", [rand(2, 2, 3), np.array([2, 1, 2, 3], np.int64)], "AFFINE_GRID")
    rois = np.float32([[0, 0, 2, 2], [1, 0.5, 6, 9]])
    for mode in ("avg", "max"):
        case(mode, "RoiAlign", [x, rois, np.array([0, 0], np.int64)], "ROI_ALIGN", opset=16,
             output_height=2, output_width=2, sampling_ratio=2, mode=mode)


def recurrences():
    x, lengths = rand(3, 2, 2), np.array([3, 2], np.int32)
    for op, gates, activations in (("RNN", 1, ["LeakyRelu", "Elu"]),
                                   ("GRU", 3, ["HardSigmoid", "Softsign", "Sigmoid", "LeakyRelu"]),
                                   ("LSTM", 4, ["Sigmoid", "Softsign", "Relu"] * 2)):
        inputs = [x, rand(2, gates * 2, 2), rand(2, gates * 2, 2), rand(2, gates * 4), lengths,
                  rand(2, 2, 2)]
        if op == "LSTM":
            inputs += [rand(2, 2, 2), rand(2, 6)]
        given = peers.runtime_gives(op, inputs, 3 if op == "LSTM" else 2, opset=14, hidden_size=2,
                                    direction="bidirectional", activations=activations,
                                    clip=1.5)
        page.case("%s with other functions" % op, op, inputs, given, 1e-4, hidden_size=2,
                  direction="bidirectional", activations=activations, clip=1.5)


def attentions():
    q, k, v = rand(1, 4, 3, 2), rand(1, 2, 5, 2), rand(1, 2, 5, 3)
    past = [rand(1, 2, 2, 2), rand(1, 2, 2, 3)]
    by_onnx("grouped, causal, cached", "Attention", [q, k, v, None] + past, "ATTENTION",
            outputs=4, is_causal=1, softcap=2.0, qk_matmul_output_mode=1)
    flat = [rand(2, 3, 8), rand(2, 4, 8), rand(2, 4, 8)]
    mask = rng.integers(0, 2, (3, 4)).astype(bool)
    mask[1] = False
    by_onnx("of rows, masked", "Attention", flat + [mask], "ATTENTION", q_num_heads=2,
            kv_num_heads=2, scale=0.5)
    by_onnx("of some keys", "Attention",
            [rand(2, 1, 2, 2), rand(2, 1, 4, 2), rand(2, 1, 4, 2), None, None, None,
             np.array([4, 2], np.int64)], "ATTENTION", left_window_size=1)
    by_onnx("interleaved", "RotaryEmbedding",
            [rand(1, 3, 8), rand(5, 2), rand(5, 2), np.array([[4, 0, 2]], np.int64)],
            "ROTARY_EMBEDDING", num_heads=2, interleaved=1)
    by_onnx("gated", "LinearAttention",
            [rand(1, 3, 8), rand(1, 3, 4), rand(1, 3, 6), None, -np.abs(rand(1, 3, 2)),
             rand(1, 3, 1)], "LINEAR_ATTENTION", outputs=2, q_num_heads=4, kv_num_heads=2)


if __name__ == "__main__":
    for part in (norms, images, recurrences, attentions):
        part()
    page.write("tests/ops/expected_network.inc", "make_expected_network.py",
               "what onnxruntime and onnx say operators give")
