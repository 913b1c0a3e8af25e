"""ONNX files for tests, written without the onnx package: just enough of protobuf.

    model(graph([node("Relu", ["x"], ["y"])], [value("x", FLOAT, ["batch", 2])], [value("y")]), 17)
"""
import struct

FLOAT, INT64 = 1, 7


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def number_field(field, number):
    return varint(field << 3) + varint(number)


def bytes_field(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def fields(number, items):
    return b"".join(bytes_field(number, item) for item in items)


def node(op, inputs, outputs, attributes=(), domain="", name=""):
    return (fields(1, inputs) + fields(2, outputs) + bytes_field(3, name) + bytes_field(4, op)
            + fields(5, attributes) + bytes_field(7, domain))


def int_attribute(name, number):
    return bytes_field(1, name) + number_field(3, number) + number_field(20, 2)


def ints_attribute(name, numbers):
    return (bytes_field(1, name) + b"".join(number_field(8, n) for n in numbers)
            + number_field(20, 7))


def graph_attribute(name, body):
    return bytes_field(1, name) + bytes_field(6, body) + number_field(20, 5)


def value(name, dtype=FLOAT, dims=None):
    """dims: sizes, names, None for one that is unknown; no dims at all: the rank is unknown."""
    shape = b""
    for dim in dims or []:
        one = (b"" if dim is None else number_field(1, dim) if isinstance(dim, int)
               else bytes_field(2, dim))
        shape += bytes_field(1, one)
    tensor = number_field(1, dtype) + (b"" if dims is None else bytes_field(2, shape))
    return bytes_field(1, name) + bytes_field(2, bytes_field(1, tensor))


def floats(name, dims, numbers):
    raw = struct.pack(f"<{len(numbers)}f", *numbers)
    return tensor(name, FLOAT, dims) + bytes_field(9, raw)


def tensor(name, dtype, dims):
    return (b"".join(number_field(1, dim) for dim in dims) + number_field(2, dtype)
            + bytes_field(8, name))


def external(name, dims, **entries):
    """A float tensor in another file: location=, offset=, length=."""
    pairs = [bytes_field(1, key) + bytes_field(2, str(entry)) for key, entry in entries.items()]
    return tensor(name, FLOAT, dims) + fields(13, pairs) + number_field(14, 1)


def graph(nodes, inputs, outputs, initializers=()):
    return (fields(1, nodes) + bytes_field(2, "graph") + fields(5, initializers)
            + fields(11, inputs) + fields(12, outputs))


def opset(version, domain=""):
    return bytes_field(1, domain) + number_field(2, version)


def function(name, domain, inputs, outputs, nodes, opsets):
    return (bytes_field(1, name) + fields(4, inputs) + fields(5, outputs) + fields(7, nodes)
            + fields(9, opsets) + bytes_field(10, domain))


def model(body, version=17, opsets=(), functions=(), ir_version=8):
    return (number_field(1, ir_version) + bytes_field(7, body)
            + fields(8, [opset(version), *opsets]) + fields(25, functions))
