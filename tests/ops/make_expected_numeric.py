"""Writes tests/ops/expected_numeric.inc: what onnx and NumPy say that operators give, in
many dtypes and at the edges: NaN, infinities, signed zeros, overflow, nothing at all.

Run from the repository root in an environment with onnx:  python tests/ops/make_expected_numeric.py
"""

import math
import re
import sys
import warnings

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, "tests/ops")
import make_expected as page  # noqa: E402

OUT = "tests/ops/expected_numeric.inc"
OPSET = 28
INF, NAN = np.inf, np.nan
warnings.simplefilter("ignore")
rng = np.random.default_rng(11)
bf16 = ml_dtypes.bfloat16


def onnx_gives(op, inputs, outputs, attrs):
    """What onnx's reference implementation of the newest opset computes."""
    names = ["x%d" % i if x is not None else "" for i, x in enumerate(inputs)]
    ports = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
             for n, x in zip(names, inputs) if n]
    results = ["y%d" % i for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attrs)], "case", ports,
        [helper.make_tensor_value_info(y, TensorProto.UNDEFINED, None) for y in results])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    return ReferenceEvaluator(model).run(None, {n: x for n, x in zip(names, inputs) if n})


def our_name(op):
    """BitwiseNot -> BITWISE_NOT; the op table's few irregular names."""
    irregular = {"IsNaN": "IS_NAN", "PRelu": "PRELU", "SwiGLU": "SWIGLU", "MatMul": "MATMUL",
                 "MatMulInteger": "MATMUL_INTEGER", "QLinearMatMul": "QLINEAR_MATMUL",
                 "DFT": "DFT", "STFT": "STFT", "ReduceL1": "REDUCE_L1", "ReduceL2": "REDUCE_L2"}
    return irregular.get(op) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", op).upper()


def case(label, op, inputs, outputs=None, tolerance=0.0, count=1, **attrs):
    """One case; without `outputs`, they are onnx's. Tolerances follow the first output's dtype."""
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    if outputs is None:
        outputs = [np.asarray(y) for y in onnx_gives(op, inputs, count, attrs)]
    outputs = outputs if isinstance(outputs, list) else [outputs]
    floor = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-6, "float64": 1e-14}
    tolerance = max(tolerance, floor.get(str(np.asarray(outputs[0]).dtype), 0))
    page.case("%s %s" % (op, label) if label else op, our_name(op), inputs, outputs, tolerance,
              **attrs)


def as_float(dtype, *values):
    return np.array(values, dtype=dtype)


EDGES = [-INF, -700.0, -20.0, -2.5, -1.5, -1.0, -0.5, -1e-5, -0.0, 0.0, 1e-5, 0.5, 1.0, 1.5, 2.5,
         20.0, 700.0, INF, NAN]


def unary():
    plain = ["Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf",
             "Exp", "Floor", "Gelu", "HardSwish", "IsInf", "IsNaN", "Log", "Neg", "Reciprocal",
             "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
             "Tan", "Tanh", "HardSigmoid", "Selu", "Celu", "Elu", "LeakyRelu", "ThresholdedRelu",
             "Swish"]
    # What onnx's NumPy code loses to its own overflow and cancellation, exactly:
    finite = [x for x in EDGES if not np.isinf(x)]
    special = {"Softplus": lambda x: np.logaddexp(0, x),
               "Erf": np.vectorize(math.erf),
               "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
               "Gelu": lambda x: x * 0.5 * np.vectorize(math.erfc)(-x / np.sqrt(2)),
               "Elu": lambda x: np.where(x < 0, np.expm1(x), x),
               "Celu": lambda x: np.where(x < 0, np.expm1(x), x)}
    for op in plain:
        for dtype in (np.float64, np.float32, np.float16):
            x = as_float(dtype, *(finite if op in ("HardSwish", "Swish", "Gelu", "Softsign",
                                                   "Sin", "Cos", "Tan") else EDGES))
            with np.errstate(all="ignore"):
                y = special[op](x.astype(np.float64)) if op in special else onnx_gives(
                    op, [x.astype(np.float64)], 1, {})[0]
            y = y if y.dtype == np.bool_ else y.astype(dtype)
            case(str(np.dtype(dtype)), op, [x], y, 1e-13 if dtype == np.float64 else 0)
    x = as_float(np.float32, *finite)
    case("tanh", "Gelu", [x], approximate="tanh", tolerance=1e-5)
    case("", "Mish", [x], tolerance=1e-6)
    case("attributes", "HardSigmoid", [x], alpha=0.5, beta=0.25)
    case("attributes", "Selu", [x], alpha=2.0, gamma=3.0)
    case("attributes", "Shrink", [x], bias=1.5, lambd=1.0)
    case("integers", "Shrink", [np.arange(-3, 4)], bias=1.0, lambd=1.5)
    case("alpha", "Celu", [x], np.where(x < 0, 2 * np.expm1(x.astype(np.float64) / 2), x)
         .astype(np.float32), alpha=2.0)
    case("negative only", "IsInf", [x], detect_positive=0)
    case("positive only", "IsInf", [as_float(np.float16, *EDGES)], detect_negative=0)
    case("bfloat16", "Exp", [as_float(bf16, -3, 0, 0.5, 2, 89)])
    for dtype in (np.int8, np.int64, np.uint64, np.uint8):
        info = np.iinfo(dtype)
        # Halves of the range: exact as the doubles that this table holds.
        n = np.array([info.min // 2 * 2, 1, 0, 5, info.max // 2 + 1], dtype=dtype)
        for op in ("Abs", "Sign", "BitwiseNot") + (("Neg", "Relu") if info.min else ()):
            if not (op == "BitwiseNot" and info.bits == 64):
                case(str(np.dtype(dtype)), op, [n])
    case("", "Not", [np.array([True, False])])
    case("of nothing", "Tan", [np.zeros((0, 3), np.float64)])
    case("of a scalar", "Round", [np.float64(-0.5)])
    x = as_float(np.float64, *EDGES)
    case("float64", "Clip", [x, np.float64(-1.5), np.float64(2)], np.clip(x, -1.5, 2))
    case("crossed bounds", "Clip", [np.arange(4, dtype=np.uint8), np.uint8(3), np.uint8(1)],
         np.full(4, 1, np.uint8))
    case("uint64", "Clip", [np.array([1, 2**63], np.uint64), np.uint64(2), None],
         np.array([2, 2**63], np.uint64))


def casts():
    x = as_float(np.float64, -1.9, -0.0, 0.4, 1.5, 65519, 65520, 3e38, 1e300, NAN, INF, 1e-8)
    for dtype in (np.float32, np.float16, bf16, np.bool_):
        case("float64 to %s" % np.dtype(dtype), "Cast", [x], x.astype(dtype),
             to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    # The second rounding of float64 -> float32 -> float16 would go up here.
    case("rounds once", "Cast", [np.float64(1 + 2**-11 + 2**-40)], np.float16(1 + 2**-10), 0, to=10)
    case("int16 to int8", "Cast", [np.array([200, -129, 5], np.int16)], to=3)
    case("float32 to uint64", "Cast", [as_float(np.float32, 1.9, 2.0**63, 0)], to=13)
    case("uint64 to float32", "Cast", [np.array([2**63, 2**63 + 2**40, 7], np.uint64)], to=1)
    case("int64 to float32 rounds once", "Cast", [np.array([2**62 + 2**38 + 2**10])], to=1)
    case("bool to bfloat16", "Cast", [np.array([True, False])], to=16)
    case("", "CastLike", [x[:4], np.zeros(0, np.int8)], x[:4].astype(np.int8))
    case("float32 to int32", "BitCast", [as_float(np.float32, 1, -0.0, NAN)], to=6)
    case("int64 to float64", "BitCast", [np.array([2**62])], to=11)


def binary():
    for dtype in (np.float64, np.float32, np.float16):
        a = as_float(dtype, -INF, -7.5, -2, -0.0, 0, 3, 7.5, INF, NAN)
        b = as_float(dtype, -INF, -2, -0.0, 0, 0.5, 3, INF, NAN)[:, None]
        for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Equal", "Less", "LessOrEqual",
                   "Greater", "GreaterOrEqual", "Pow"):
            case(str(np.dtype(dtype)), op, [a, b])
        for fmod in (0, 1):
            case("fmod=%d %s" % (fmod, np.dtype(dtype)), "Mod", [a, b], fmod=fmod)
        case(str(np.dtype(dtype)), "PRelu", [a[:3], dtype(0.25)])
        case(str(np.dtype(dtype)), "SwiGLU", [a[1:7], b[:6, 0]], tolerance=1e-6, alpha=1.5)
    case("bfloat16", "Add", [as_float(bf16, 1, 256), as_float(bf16, 2**-8, 1)])
    for dtype in (np.int8, np.int32, np.int64, np.uint8, np.uint64):
        info = np.iinfo(dtype)
        a = np.array([info.min, 3, 7, info.max // 2 + 1], dtype=dtype)
        b = np.array([[2], [3]] + ([[-3], [-1]] if info.min else []), dtype=dtype)
        for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Less", "GreaterOrEqual"):
            exact = op not in ("Add", "Sub", "Mul", "Div") or info.bits < 64
            case(str(np.dtype(dtype)), op, [a if exact else a // 1024 * 1024, b])
        for fmod in (0, 1):
            case("fmod=%d %s" % (fmod, np.dtype(dtype)), "Mod", [a, b], fmod=fmod)
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            case(str(np.dtype(dtype)), op, [a, b % 4])
        shift = np.array([[0], [1], [info.bits - 1], [info.bits]]
                         + ([[-1]] if info.min else []), dtype=dtype)
        for direction in ("LEFT", "RIGHT"):
            case("%s %s" % (direction, np.dtype(dtype)), "BitShift", [a, shift],
                 direction=direction)
        case("by zero %s" % np.dtype(dtype), "Div", [a, np.array([0], dtype)], a * 0)
    case("integers", "Pow", [np.array([2, -3, 0, 1, -1]), np.array([[5], [0], [3]], np.int32)])
    case("negative powers", "Pow", [np.array([2, 1, -1]), np.array([-3])], np.array([0, 1, -1]))
    case("float power of integers", "Pow", [np.array([2, 3], np.int32), as_float(np.float32, 0.5)])
    case("integers", "PRelu", [np.array([-4, 5]), np.array([3, 3])])
    flags = np.array([True, False])
    for op in ("And", "Or", "Xor", "Equal"):
        case("bool", op, [flags, flags[:, None]])
    x = [rng.uniform(-2, 2, s).astype(np.float64) for s in ((2, 3), (3,), (2, 1))]
    for op in ("Sum", "Mean", "Max", "Min"):
        case("of three", op, x)
        case("of one", op, x[:1])
        case("of three float16", op, [t.astype(np.float16) for t in x], tolerance=2e-3)
    case("int8", "Max", [np.array([-3, 4], np.int8), np.array([[0], [5]], np.int8),
                         np.array([1], np.int8)])
    case("of nothing", "Mul", [np.zeros((0, 3), np.int16), np.ones((1, 3), np.int16)])
    case("rank 0", "Sub", [np.int64(3), np.int64(5)])
    case("float64", "Where", [flags, x[0][:, :1], np.float64(NAN)],
         np.where(flags, x[0][:, :1], NAN))


def reductions():
    x = rng.uniform(-2, 2, (2, 3, 4))
    sets = [("all", None, {}), ("middle", [1], {}), ("outer, dropped", [-1, 0], {"keepdims": 0}),
            ("no axes", [], {"noop_with_empty_axes": 1})]
    names = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
    for op in ["Reduce" + n for n in names]:
        values = np.abs(x) if op == "ReduceLogSum" else x
        for label, axes, attrs in sets:
            axes = None if axes is None else np.array(axes, np.int64)
            case(label, op, [values, axes] if axes is not None else [values], **attrs)
        case("float16", op, [values.astype(np.float16)], tolerance=4e-3)
        if op != "ReduceMean":
            case("of nothing", op, [np.zeros((2, 0, 3), np.float32), np.array([1])])
        if "Log" not in op:
            for dtype in (np.int32, np.uint64):
                case(str(np.dtype(dtype)), op, [(x * 20).astype(np.int32).astype(dtype) if dtype
                                                == np.int32 else (np.abs(x) * 9).astype(dtype),
                                                np.array([2])])
    edges = np.array([[1, NAN, 2], [-INF, -INF, -INF], [INF, 1, 2], [500, 501, 500]], np.float32)
    for op in ("ReduceMax", "ReduceMin", "ReduceSum"):
        case("edges", op, [edges, np.array([1])])
    case("edges", "ReduceLogSumExp", [edges, np.array([1])],
         np.array([[NAN], [-INF], [INF], [np.logaddexp(501, np.logaddexp(500, 500))]], np.float32))
    case("int32 wraps", "ReduceProd", [np.full(5, 100, np.int32)])
    case("uint64", "ReduceMax", [np.array([1, 2**63], np.uint64)])
    case("bool", "ReduceMax", [np.array([[False, True], [False, False]]), np.array([1])])
    case("bool", "ReduceMin", [np.array([[False, True], [True, True]]), np.array([1])])
    case("long", "ReduceSum", [np.ones((1, 600), np.float32), np.array([1])])
    case("long columns", "ReduceMean", [rng.uniform(-1, 1, (520, 2)), np.array([0])])


def lines():
    x = rng.uniform(-2, 2, (2, 3, 4))
    for op in ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"):
        for axis in (0, 1, -1):
            case("axis %d" % axis, op, [x], axis=axis)
        case("float16", op, [x.astype(np.float16)])
        case("large", op, [as_float(np.float32, 1e4, 1e4 + 1, -1e4)])
    case("wide", "Softmax", [rng.uniform(-9, 9, (2, 7, 45)).astype(np.float32)], axis=1)
    case("wide", "LogSoftmax", [rng.uniform(-9, 9, (2, 7, 45)).astype(np.float32)], axis=1)
    case("bfloat16", "Softmax", [x.astype(bf16)])
    case("bfloat16, long", "Softmax", [np.zeros(600, bf16)], np.full(600, 1 / 600, bf16))
    case("p=1", "LpNormalization", [x], x / np.abs(x).sum(1, keepdims=True), axis=1, p=1)
    case("zeros", "LpNormalization", [np.zeros((2, 3))])
    for op in ("CumSum", "CumProd"):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                case("exclusive=%d reverse=%d" % (exclusive, reverse), op, [x, np.int64(1)],
                     exclusive=exclusive, reverse=reverse)
        case("int32", op, [np.array([[3, -4, 5], [70000, 80000, 9]], np.int32), np.int32(-1)])
        case("uint64", op, [np.array([2**62, 2, 3], np.uint64), np.int64(0)])
    ties = np.array([[2, 2, 1], [1, 3, 3]])
    for op in ("ArgMax", "ArgMin"):
        for last in (0, 1):
            for dtype in (np.int8, np.uint64, np.float32, np.float16):
                case("last=%d %s" % (last, np.dtype(dtype)), op, [ties.astype(dtype)], axis=1,
                     select_last_index=last)
        case("dropped", op, [x], axis=-2, keepdims=0)
        case("nan", op, [as_float(np.float32, 1, NAN, 3, NAN)])
        case("uint64", op, [np.array([5, 2**63], np.uint64)])


def losses():
    scores = rng.uniform(-2, 2, (3, 4, 2)).astype(np.float32)
    labels = np.array([[0, 3], [1, 1], [2, 0]])
    weights = as_float(np.float32, 0.5, 1, 2, 0.25)
    for reduction in ("none", "sum", "mean"):
        for more, label in (([], ""), ([weights], ", weighted")):
            for op, outputs in (("NegativeLogLikelihoodLoss", 1), ("SoftmaxCrossEntropyLoss", 2)):
                case(reduction + label, op, [scores, labels] + more, count=outputs,
                     reduction=reduction, ignore_index=1)
    case("rank 2, int32", "SoftmaxCrossEntropyLoss",
         [scores[:, :, 0].astype(np.float64), labels[:, 0].astype(np.int32)])


def matrices():
    a, b = rng.uniform(-2, 2, (2, 1, 3, 4)), rng.uniform(-2, 2, (5, 4, 19))
    for dtype in (np.float64, np.float16, bf16):
        left, right = a.astype(dtype), b.astype(dtype)
        case(str(np.dtype(dtype)), "MatMul", [left, right],
             (left.astype(np.float64) @ right.astype(np.float64)).astype(dtype))
    case("of vectors", "MatMul", [a[0, 0, 0], b[0, :, 0]])
    case("vector by matrices", "MatMul", [a[0, 0, 0], b])
    case("matrices by vector", "MatMul", [a, b[0, :, 0]])
    case("over nothing", "MatMul", [np.zeros((2, 0)), np.zeros((0, 3))])
    many = np.arange(140 * 5).reshape(140, 5)
    for dtype in (np.int32, np.uint32, np.int64, np.uint64):
        rows = many if dtype == np.int32 else many[:3]
        case(str(np.dtype(dtype)), "MatMul", [rows.astype(dtype), (many[:5] * 7).astype(dtype)])
    case("int32 wraps", "MatMul", [np.full((1, 3), 2**30, np.int32), np.full((3, 1), 3, np.int32)])
    x, y = rng.uniform(-2, 2, (4, 3)), rng.uniform(-2, 2, (5, 4))
    for c in (rng.uniform(-2, 2, 5), rng.uniform(-2, 2, (3, 1)), np.float64(2), None):
        case("float64", "Gemm", [x, y, c] if c is not None else [x, y],
             0.5 * x.T @ y.T + (0 if c is None else -2.0 * c), transA=1, transB=1, alpha=0.5,
             beta=-2.0)
    case("int32", "Gemm", [many[:2].astype(np.int32), many[:5].astype(np.int32),
                           np.array([1, 2, 3, 4, 5], np.int32)], alpha=2.0)
    squares = rng.uniform(-2, 2, (2, 3, 3))
    case("", "Det", [squares])
    case("singular", "Det", [np.array([[1.0, 2], [2, 4]])], np.float64(0))
    case("of nothing", "Det", [np.zeros((0, 0), np.float32)], np.float32(1))


def einsums():
    def check(equation, *inputs):
        case(equation, "Einsum", list(inputs), np.asarray(np.einsum(equation, *inputs)),
             equation=equation)

    x, y, z = (rng.uniform(-2, 2, s) for s in ((2, 3, 4), (2, 4, 3), (3,)))
    check("bij,bjk->bik", x, y)
    check("bij, bjk", x, y)
    check("bij,bji->", x, y)
    check("bij,bji,i->b", x, y, z)
    check("...ij->...ji", x)
    check("i...->...", x)
    check("...i,...i", z, x.transpose(0, 2, 1))
    check("a...,...b->ab...", x[0], y[0])
    check("bii->bi", rng.uniform(-2, 2, (2, 3, 3)))
    check("ii", rng.uniform(-2, 2, (3, 3)))
    check("BaA", x)
    check("i,j->ij", z, z)
    check(",i->i", np.float64(3), z)
    check("ij,ij->i", np.ones((1, 520)), rng.uniform(-1, 1, (1, 520)))
    check("ij,jk->ik", rng.integers(-9, 9, (1, 2)), rng.integers(-9, 9, (2, 520)))
    check("ij,jk->ik", np.ones((2, 0), np.float32), np.ones((0, 3), np.float32))


def signals():
    for size in (1, 2, 9, 10):
        for op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
            case("of %d" % size, op, [np.int64(size)], output_datatype=11)
            if size > 1:
                case("symmetric, of %d" % size, op, [np.int32(size)], periodic=0)
    for n in (1, 2, 7, 12, 16):
        x = rng.uniform(-2, 2, (1, n, 2, 2))
        z = x[..., 0] + 1j * x[..., 1]
        pairs = lambda c: np.stack([c.real, c.imag], -1)  # noqa: E731
        axis = np.int64(1)
        case("complex %d" % n, "DFT", [x, None, axis], pairs(np.fft.fft(z, axis=1)), 1e-12)
        case("real %d" % n, "DFT", [x[..., :1], None, axis],
             pairs(np.fft.fft(x[..., 0], axis=1)), 1e-12)
        case("inverse %d" % n, "DFT", [x, None, axis], pairs(np.fft.ifft(z, axis=1)), 1e-12,
             inverse=1)
        case("half %d" % n, "DFT", [x[..., :1], None, axis],
             pairs(np.fft.rfft(x[..., 0], axis=1)), 1e-12, onesided=1)
        for length in (n, n + 3):
            case("mirrored %d to %d" % (n, length), "DFT", [x, np.int64(length), axis],
                 np.fft.irfft(z, length, axis=1)[..., None], 1e-12, onesided=1, inverse=1)
            case("length %d of %d" % (length, n), "DFT", [x, np.int64(length), np.int64(-3)],
                 pairs(np.fft.fft(z, length, axis=1)), 1e-12)
    x = rng.uniform(-2, 2, (2, 20, 1)).astype(np.float32)
    window = rng.uniform(0, 1, 7).astype(np.float32)
    case("", "STFT", [x, np.int64(3), window], tolerance=1e-5)
    case("without the last axis", "STFT", [x[..., 0], np.int64(3), window],
         onnx_gives("STFT", [x, np.int64(3), window], 1, {}), 1e-5)
    case("no window", "STFT", [x, np.int64(4), None, np.int64(8)], tolerance=1e-5, onesided=0)
    case("", "MelWeightMatrix", [np.int64(8), np.int64(32), np.int64(8192), np.float32(0),
                                 np.float32(4096)])
    case("double", "MelWeightMatrix", [np.int32(5), np.int32(64), np.int32(16000),
                                       np.float64(20), np.float64(7000)], output_datatype=11)
    for k in (-1, 0, 2, 9):
        case("k=%d" % k, "EyeLike", [np.zeros((3, 4), np.int32)], np.eye(3, 4, k, np.float16),
             k=k, dtype=10)
    case("float16", "Range", [np.float16(1), np.float16(5), np.float16(0.5)])
    case("float64", "Range", [np.float64(1), np.float64(-1), np.float64(-0.25)])
    case("int16", "Range", [np.int16(9), np.int16(1), np.int16(-4)])


def quantised():
    x = rng.uniform(-9, 9, (2, 3, 4)).astype(np.float32)
    ties = as_float(np.float32, -2.5, -1.5, -0.5, 0.5, 1.5, 300, -300, INF, -INF)
    for dtype in (np.uint8, np.int8, np.uint16, np.int16):
        zero = np.array(5, dtype)
        info = np.iinfo(dtype)
        case(str(np.dtype(dtype)), "QuantizeLinear", [ties, np.float32(1), zero],
             np.clip(np.rint(ties) + 5, info.min, info.max).astype(dtype))
        case(str(np.dtype(dtype)), "DequantizeLinear",
             [np.array([info.min, 5, info.max], dtype), np.float32(0.5), zero])
    scale, zero = as_float(np.float32, 0.5, 2, 3), np.array([1, -2, 3], np.int8)
    case("axis", "QuantizeLinear", [x, scale, zero], axis=1)
    blocks = rng.uniform(0.5, 2, (2, 3, 2)).astype(np.float32)
    zeros = rng.integers(0, 9, (2, 3, 2)).astype(np.uint8)
    case("blocks", "QuantizeLinear", [x, blocks, zeros], axis=2, block_size=3)
    case("default", "QuantizeLinear", [x, np.float32(0.1)])
    case("int16 by attribute", "QuantizeLinear", [x, np.float32(0.1)], output_dtype=5)
    case("float16", "QuantizeLinear", [x.astype(np.float16), np.float16(0.3), np.int8(0)])
    case("precision", "QuantizeLinear", [x, np.float16(0.3), np.int8(0)], precision=1)
    q = rng.integers(0, 255, (2, 3, 4)).astype(np.uint8)
    case("axis", "DequantizeLinear", [q, scale, zero.astype(np.uint8)], axis=-2)
    case("blocks", "DequantizeLinear", [q, blocks, zeros], axis=2, block_size=3)
    case("int32", "DequantizeLinear", [np.array([2**24 + 1, -5], np.int32), np.float32(0.5)],
         as_float(np.float32, (2**24 + 1) / 2, -2.5))
    case("to float32", "DequantizeLinear", [q, np.float16(0.5), np.uint8(9)], output_dtype=1)
    for values in ([0, 2, -3, -2.5, 1.34, 0.5], [1, 2.5, 4], [0, 0], [-1, -2.5]):
        case(str(values), "DynamicQuantizeLinear", [as_float(np.float32, *values)], count=3)
    a, b = q[0], rng.integers(-128, 127, (4, 20)).astype(np.int8)
    case("", "MatMulInteger", [a, b], (a.astype(np.int32) @ b))
    rows, columns = np.array([1, 200, 3], np.uint8), np.arange(20, dtype=np.int8)
    case("zero points", "MatMulInteger", [a, b, rows, columns],
         (a.astype(np.int32) - rows[:, None]) @ (b.astype(np.int32) - columns))
    case("zero points of batches", "MatMulInteger", [q, b, q[:, :, :1], np.int8(3)],
         (q.astype(np.int32) - q[:, :, :1]) @ (b.astype(np.int32) - 3))
    s_a, s_b = as_float(np.float32, 0.5, 0.25, 1), np.linspace(0.01, 0.02, 20, dtype=np.float32)
    sums = (a.astype(np.int32) - rows[:, None]) @ (b.astype(np.int32) - columns)
    case("lines", "QLinearMatMul",
         [a, s_a, rows, b, s_b, columns, np.float32(0.7), np.uint8(100)],
         np.clip(np.rint(sums * (s_a[:, None] * s_b / np.float32(0.7))) + 100, 0, 255)
         .astype(np.uint8))


if __name__ == "__main__":
    for part in (unary, casts, binary, reductions, lines, losses, matrices, einsums, quantised,
                 signals):
        part()
    assert onnx.defs.onnx_opset_version() == OPSET
    page.write(OUT, "make_expected_numeric.py", "what onnx and NumPy say operators give")
