"""Writes tests/ops/expected_contrib.inc: what onnxruntime says that operators of com.microsoft
give. Run from the repository root:  python tests/ops/make_expected_contrib.py
"""
import sys

import numpy as np

sys.path.insert(0, "tests/ops")
import make_expected as page  # noqa: E402
import peers  # noqa: E402

rng = np.random.default_rng(21)


def rand(*shape):
    return rng.uniform(-2, 2, shape).astype(np.float32)


def levels(dtype, *shape):
    low, high = (0, 255) if dtype == np.uint8 else (-127, 127)
    return rng.integers(low, high, shape).astype(dtype)


def scalar(value, dtype=np.float32):
    return np.array(value, dtype)


def case(op, inputs, name, tolerance=1e-5, outputs=1, domain="com.microsoft", **attrs):
    given = peers.runtime_gives(op, inputs, outputs, domain, **attrs)
    page.case(op, name, inputs, given, tolerance, **attrs)


def fused():
    case("FusedMatMul", [rand(2, 3, 2), rand(2, 4, 3)], "FUSED_MATMUL", transA=1, transB=1,
         alpha=0.5)
    case("BiasGelu", [rand(2, 3), rand(3)], "BIAS_GELU")
    case("FastGelu", [rand(2, 3), rand(3)], "FAST_GELU")
    case("QuickGelu", [rand(2, 3)], "QUICK_GELU", alpha=1.25)
    case("FusedConv", [rand(1, 2, 4, 4), rand(2, 2, 3, 3), rand(2), rand(1, 2, 2, 2)],
         "FUSED_CONV", activation="Relu")
    x, gamma = rand(2, 3, 4), rand(4)
    case("SkipLayerNormalization", [x, rand(2, 3, 4), gamma, rand(4), rand(4)], "SKIP_LAYER_NORM",
         epsilon=1e-3)
    case("SkipSimplifiedLayerNormalization", [x, rand(2, 3, 4), gamma], "SKIP_SIMPLIFIED_NORM",
         epsilon=1e-3)
    case("SimplifiedLayerNormalization", [x, gamma], "SIMPLIFIED_LAYER_NORM", domain="",
         epsilon=1e-3)
    ids = np.array([[3, 0, 5]], np.int32)
    case("EmbedLayerNormalization",
         [ids, ids % 2, rand(6, 4), rand(3, 4), rand(2, 4), rand(4), rand(4),
          np.array([[1, 1, 0]], np.int32)], "EMBED_LAYER_NORM", outputs=2, epsilon=1e-3)


def quantised():
    case("DynamicQuantizeMatMul", [rand(2, 4), levels(np.int8, 4, 3), scalar(0.02),
                                   scalar(3, np.int8), rand(3)], "DYNAMIC_QUANTIZE_MATMUL", 1e-4)
    case("MatMulIntegerToFloat",
         [levels(np.uint8, 2, 4), levels(np.int8, 4, 3), scalar(0.02),
          np.float32([0.01, 0.02, 0.03]), scalar(120, np.uint8)], "MATMUL_INTEGER_TO_FLOAT", 1e-4)
    case("MatMulNBits", [rand(2, 32), levels(np.uint8, 3, 2, 8), rand(3, 2),
                         levels(np.uint8, 3, 1)], "MATMUL_NBITS", 1e-3, K=32, N=3, bits=4,
         block_size=16)


def attention():
    mask = np.array([[1, 1, 0], [1, 1, 1]], np.int32)
    case("Attention", [rand(2, 3, 5), rand(5, 12), rand(12), mask], "MS_ATTENTION", 1e-3,
         num_heads=2, unidirectional=1)
    case("QAttention",
         [levels(np.uint8, 1, 3, 5), levels(np.int8, 5, 12), rand(12), scalar(0.02), scalar(0.01),
          None, scalar(120, np.uint8)], "MS_QATTENTION", 1e-3, num_heads=2)
    past = [rand(2, 2, 2, 2), rand(2, 2, 2, 2)]
    case("MultiHeadAttention",
         [rand(2, 1, 4), rand(2, 1, 4), rand(2, 1, 4), rand(12), None, rand(1, 2, 1, 3)] + past,
         "MULTI_HEAD_ATTENTION", 1e-4, outputs=3, num_heads=2)
    cache = [rand(2, 1, 3, 16), rand(2, 1, 3, 16)]
    case("GroupQueryAttention",
         [rand(2, 1, 32), rand(2, 1, 16), rand(2, 1, 16)] + cache
         + [np.array([3, 1], np.int32), scalar(4, np.int32), rand(6, 8), rand(6, 8)],
         "GROUP_QUERY_ATTENTION", 1e-4, outputs=3, num_heads=2, kv_num_heads=1, do_rotary=1,
         local_window_size=2)
    case("RotaryEmbedding", [rand(1, 3, 8), np.array([[2, 0, 4]], np.int64), rand(5, 2),
                             rand(5, 2)], "MS_ROTARY_EMBEDDING", interleaved=1)


if __name__ == "__main__":
    for part in (fused, quantised, attention):
        part()
    page.write("tests/ops/expected_contrib.inc", "make_expected_contrib.py",
               "what onnxruntime says operators give")
