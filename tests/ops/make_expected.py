"""Writes tests/ops/expected.inc: what NumPy and PyTorch say that operators give.

Run from the repository root in an environment with both:  python tests/ops/make_expected.py
Every case is a call of `case` with the operator's ONNX attributes, its inputs (None: absent) and
the expected outputs. Inputs come from a seeded generator: the file only changes when a case does.
"""

import numpy as np
import torch

OUT = "tests/ops/expected.inc"
DTYPES = {"float32": "MD_F32", "float64": "MD_F64", "float16": "MD_F16", "bfloat16": "MD_BF16",
          "bool": "MD_BOOL", "int8": "MD_I8", "int16": "MD_I16", "int32": "MD_I32",
          "int64": "MD_I64", "uint8": "MD_U8", "uint16": "MD_U16", "uint32": "MD_U32",
          "uint64": "MD_U64"}
rng = np.random.default_rng(7)
cases = []


def rand(*shape):
    return rng.uniform(-2, 2, shape).astype(np.float32)


def i64(*values):
    return np.array(values, dtype=np.int64)


def case(name, op, inputs, outputs, tolerance=1e-6, **attrs):
    cases.append((name, op, inputs, outputs if isinstance(outputs, list) else [outputs],
                  tolerance, attrs))


def elementwise():
    x = rand(3, 4)
    t = torch.from_numpy(x).double()
    for name, op, y in [
            ("abs", "ABS", t.abs()), ("neg", "NEG", -t), ("exp", "EXP", t.exp()),
            ("reciprocal", "RECIPROCAL", 1 / t), ("sigmoid", "SIGMOID", t.sigmoid()),
            ("tanh", "TANH", t.tanh()), ("relu", "RELU", t.relu()),
            ("softplus", "SOFTPLUS", torch.nn.functional.softplus(t)), ("erf", "ERF", t.erf())]:
        case(name, op, [x], y.float().numpy())
    case("log", "LOG", [np.abs(x)], t.abs().log().float().numpy())
    case("sqrt", "SQRT", [np.abs(x)], t.abs().sqrt().float().numpy())
    case("elu", "ELU", [x], torch.nn.functional.elu(t, 0.5).float().numpy(), alpha=0.5)
    case("clip", "CLIP", [x, np.float32(-0.5), np.float32(1)], np.clip(x, -0.5, 1))
    case("clip, only max", "CLIP", [x, None, np.float32(1)], np.minimum(x, 1))
    case("cast to int64", "CAST", [x * 3], np.trunc(x * 3).astype(np.int64), to=7)
    case("cast to bool", "CAST", [i64(0, 5, -1)], np.array([False, True, True]), to=9)
    case("not", "NOT", [x > 0], ~(x > 0))


def broadcasting():
    a, b = rand(2, 3, 4), rand(3, 1)
    for op, y in [("ADD", a + b), ("SUB", a - b), ("MUL", a * b), ("DIV", a / b),
                  ("MIN", np.minimum(a, b)), ("MAX", np.maximum(a, b)), ("LESS", a < b),
                  ("LESS_OR_EQUAL", a <= b), ("GREATER", a > b), ("GREATER_OR_EQUAL", a >= b)]:
        case(op.lower(), op, [a, b], y)
    case("pow", "POW", [np.abs(b), a], np.abs(b) ** a, 1e-5)
    n = i64(7, -7, 7, -7)
    case("div int64", "DIV", [n, i64(2, 2, -2, -2)], i64(3, -3, -3, 3))
    case("equal int64", "EQUAL", [n, i64(7)], n == 7)
    case("and", "AND", [n > 0, np.array([True])], n > 0)
    case("or", "OR", [n > 0, np.array([[True], [False]])], (n > 0) | np.array([[True], [False]]))
    case("where", "WHERE", [b > 0, a, np.float32(9)], np.where(b > 0, a, np.float32(9)))
    case("expand", "EXPAND", [b, i64(2, 1, 4)], np.broadcast_to(b, (2, 3, 4)))


def matrices():
    a, b = rand(2, 1, 3, 4), rand(5, 4, 2)
    case("matmul", "MATMUL", [a, b], a @ b, 1e-5)
    case("matmul of vectors", "MATMUL", [rand(4), rand(4)], None, 1e-5)
    cases[-1][3][0] = np.float32(cases[-1][2][0] @ cases[-1][2][1])
    a, b, c = rand(4, 3), rand(2, 4), rand(2)
    case("gemm", "GEMM", [a, b, c], 0.5 * (a.T @ b.T) - 2 * c, 1e-5, transA=1, transB=1,
         alpha=0.5, beta=-2.0)


def norms():
    x, w, b = rand(2, 3, 5), rand(5), rand(5)
    t = torch.from_numpy(x)
    case("softmax", "SOFTMAX", [x], t.softmax(1).numpy(), axis=1)
    y = torch.nn.functional.layer_norm(t, (5,), torch.from_numpy(w), torch.from_numpy(b), 1e-3)
    case("layer norm", "LAYER_NORM", [x, w, b], y.numpy(), 1e-5, axis=-1, epsilon=1e-3)
    case("reduce sum", "REDUCE_SUM", [x, i64(1)], x.sum(1, keepdims=True), 1e-5)
    case("reduce mean", "REDUCE_MEAN", [x, i64(0, -1)], x.mean((0, 2)), 1e-5, keepdims=0)
    case("reduce max", "REDUCE_MAX", [x], x.max(keepdims=True))
    case("reduce min", "REDUCE_MIN", [x, i64(-1)], x.min(2), keepdims=0)
    case("reduce nothing", "REDUCE_SUM", [x], x, noop_with_empty_axes=1)


def movement():
    x = rand(3, 4, 5)
    case("transpose", "TRANSPOSE", [x], x.transpose(1, 2, 0), perm=[1, 2, 0])
    case("concat", "CONCAT", [x, x[:, :1]], np.concatenate([x, x[:, :1]], 1), axis=-2)
    case("split", "SPLIT", [x, i64(1, 3)], [x[:, :1], x[:, 1:]], axis=1)
    case("slice", "SLICE", [x, i64(1, -100), i64(100, -1), i64(0, -1)], x[1:, :, :-1])
    case("slice backwards from before the first", "SLICE", [x, i64(-9), i64(-100), i64(1), i64(-2)],
         x[:, :1]) # as the standard's text and ONNX Runtime; NumPy's is empty
    case("slice backwards", "SLICE", [x, i64(-1, 3), i64(-100, 0), i64(0, 2), i64(-1, -2)],
         x[::-1, :, 3:0:-2])
    case("gather", "GATHER", [x, i64(3, -1, 0)], x[:, [3, -1, 0]], axis=1)
    case("gather matrix", "GATHER", [x[0], i64(0, 1, -1, 2).reshape(2, 2)],
         x[0][[[0, 1], [-1, 2]]], axis=0)
    case("shape", "SHAPE", [x], i64(4, 5), start=1)
    case("range", "RANGE", [np.int64(7), np.int64(0), np.int64(-3)], i64(7, 4, 1))


def reordered(t, order, gates):
    """PyTorch's gate blocks in ONNX's order, as [1, rows, ..]."""
    blocks = np.split(t.detach().numpy(), gates)
    return np.concatenate([blocks[i] for i in order])[None]


def recurrent_weights(net, order, gates):
    w, r, b = [], [], []
    for end in ["", "_reverse"] if net.bidirectional else [""]:
        w.append(reordered(getattr(net, "weight_ih_l0" + end), order, gates))
        r.append(reordered(getattr(net, "weight_hh_l0" + end), order, gates))
        b.append(np.concatenate([reordered(getattr(net, "bias_%s_l0%s" % (part, end)), order, gates)
                                 for part in ("ih", "hh")], 1))
    return [np.concatenate(part) for part in (w, r, b)]


def onnx_states(y, directions):
    """[T, B, D*H] to [T, D, B, H]"""
    steps, batch, width = y.shape
    return y.detach().numpy().reshape(steps, batch, directions, -1).transpose(0, 2, 1, 3)


def recurrences():
    torch.manual_seed(3)
    steps, batch, inputs, units = 4, 3, 2, 3
    x, h0, c0 = rand(steps, batch, inputs), rand(2, batch, units), rand(2, batch, units)
    lengths = np.array([4, 1, 3], dtype=np.int32)
    lstm = torch.nn.LSTM(inputs, units, bidirectional=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(x), torch.from_numpy(lengths),
                                                     enforce_sorted=False)
    y, (h, c) = lstm(packed, (torch.from_numpy(h0), torch.from_numpy(c0)))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=steps)
    case("lstm", "LSTM", [x] + recurrent_weights(lstm, [0, 3, 1, 2], 4) + [lengths, h0, c0],
         [onnx_states(y, 2), h.detach().numpy(), c.detach().numpy()], direction="bidirectional")
    lstm = torch.nn.LSTM(inputs, units, batch_first=True)
    y, (h, c) = lstm(torch.from_numpy(x).transpose(0, 1))
    case("lstm, batch first", "LSTM",
         [np.ascontiguousarray(x.transpose(1, 0, 2))] + recurrent_weights(lstm, [0, 3, 1, 2], 4),
         [y.detach().numpy()[:, :, None], h.detach().numpy().transpose(1, 0, 2),
          c.detach().numpy().transpose(1, 0, 2)], layout=1)
    gru = torch.nn.GRU(inputs, units)
    y, h = gru(torch.from_numpy(x), torch.from_numpy(h0[:1]))
    weights = recurrent_weights(gru, [1, 0, 2], 3)
    case("gru, reset after", "GRU", [x] + weights + [None, h0[:1]],
         [onnx_states(y, 1), h.detach().numpy()], linear_before_reset=1)
    case("gru, reset before", "GRU", [x] + weights + [None, h0[:1]],
         gru_reset_before(x, weights, h0[0]))


def gru_reset_before(x, weights, h):
    """The original GRU, which PyTorch does not offer: r multiplies h before its product."""
    w_z, w_r, w_n = np.split(weights[0][0], 3)
    r_z, r_r, r_n = np.split(weights[1][0], 3)
    bias = np.split(weights[2][0], 6)
    y = []
    for row in x:
        z = 1 / (1 + np.exp(-(row @ w_z.T + h @ r_z.T + bias[0] + bias[3])))
        r = 1 / (1 + np.exp(-(row @ w_r.T + h @ r_r.T + bias[1] + bias[4])))
        n = np.tanh(row @ w_n.T + (r * h) @ r_n.T + bias[2] + bias[5])
        h = (1 - z) * n + z * h
        y.append(h[None])
    return [np.stack(y).astype(np.float32), h[None].astype(np.float32)]


# ---- writing ------------------------------------------------------------------------------------


def wrapped(items, indent):
    lines, line = [], indent
    for item in items:
        if len(line) + len(item) + 2 > 98:
            lines.append(line.rstrip())
            line = indent
        line += item + ", "
    return "\n".join(lines + [line.rstrip().rstrip(",")])


def number(value, digits):
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    if value == 0:
        return "-0.0" if np.signbit(value) else "0"
    return min("%.*g" % (digits, value), repr(value), key=len)


def numbers(array):
    if array.dtype.kind in "biu":
        return ["%d%s" % (v, "." if abs(int(v)) > 2**31 else "") for v in array.ravel()]
    digits = 17 if array.dtype == np.float64 else 9
    return [number(float(v), digits) for v in array.ravel()]


def tensor(array):
    if array is None:
        return "         ABSENT,"
    array = np.asarray(array)
    shape = "{%d, {%s}}" % (array.ndim, ", ".join(map(str, array.shape)) or "0")
    return ("         {.dtype = %s, .shape = %s, .fill = OP_VALUES, .value_count = %d,\n"
            "          .values = (const double[]){\n%s}},"
            % (DTYPES[str(array.dtype)], shape, array.size,
               wrapped(numbers(array) or ["0"], " " * 14)))


def attribute(key, value):
    if isinstance(value, str):
        return 'STRING("%s", "%s")' % (key, value)
    if isinstance(value, float):
        return 'FLOAT("%s", %r)' % (key, value)
    if isinstance(value, list) and isinstance(value[0], str):
        return 'STRINGS("%s", %s)' % (key, ", ".join('"%s"' % v for v in value))
    if isinstance(value, list):
        return 'INTS("%s", %s)' % (key, ", ".join(map(str, value)))
    return 'INT("%s", %d)' % (key, value)


def output(array):
    array = np.asarray(array)
    return "{.dtype = %s, .shape = {%d, {%s}}}" % (
        DTYPES[str(array.dtype)], array.ndim, ", ".join(map(str, array.shape)) or "0")


def text(name, op, inputs, outputs, tolerance, attrs):
    lines = ['    {{.name = "%s", .op = MD_OP_%s, .absolute = %g, .relative = %g,' % (
        name, op, tolerance, tolerance)]
    if attrs:
        listed = [attribute(*item) for item in attrs.items()]
        lines += ["      .attrs = {", wrapped(listed, " " * 10), "      },"]
    lines += ["      .in = {"] + [tensor(x) for x in inputs] + ["      },"]
    lines += ["      .out = {", wrapped([output(y) for y in outputs], " " * 10), "      }},"]
    lines += ["     {"] + ["         (const double[]){\n%s}," % wrapped(
        numbers(np.asarray(y)) or ["0"], " " * 14) for y in outputs] + ["     }},"]
    return "\n".join(lines)


def write(path, made_by, what):
    with open(path, "w") as out:
        out.write("/* Made by %s: %s. */\n" % (made_by, what))
        out.write("\n".join(text(*c) for c in cases) + "\n")


if __name__ == "__main__":
    for part in (elementwise, broadcasting, matrices, norms, movement, recurrences):
        part()
    write(OUT, "make_expected.py", "what NumPy and PyTorch say operators give")
