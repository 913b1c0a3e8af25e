"""Writes fixtures/qlinear_int8: the quantised operators of com.microsoft in one small graph, with
ONNX Runtime's answers.

    python tests/reference/models/make_qlinear.py
"""

import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures", "qlinear_int8")
rng = np.random.default_rng(4)
nodes, constants, outputs = [], [], []


def constant(name, array):
    constants.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def scale(name, value, zero):
    """Scale and zero point as two inputs."""
    return [constant(name + "_s", np.float32(value)), constant(name + "_z", np.uint8(zero))]


def node(op, inputs, output, domain="com.microsoft", **attrs):
    nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attrs))
    return output


def shown(value, parameters):
    """An output: `value`, dequantised."""
    name = "out_" + value
    outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    node("DequantizeLinear", [value] + parameters, name, domain="")


def build():
    x_p, y_p = scale("x", 0.05, 120), scale("y", 0.03, 100)
    x = node("QuantizeLinear", ["image"] + x_p, "x")
    y = node("QuantizeLinear", ["other"] + y_p, "y", domain="")
    for op, value, zero in (("Add", 0.08, 110), ("Mul", 0.07, 130)):
        p = scale(op, value, zero)
        shown(node("QLinear" + op, [x] + x_p + [y] + y_p + p, "q" + op), p)
    for op, value, zero, attrs in (
            ("Sigmoid", 1 / 256, 0, {}), ("LeakyRelu", 0.05, 20, {"alpha": 0.2}),
            ("Softmax", 1 / 256, 0, {"axis": -1, "opset": 13}),
            ("GlobalAveragePool", 0.01, 128, {}),
            ("AveragePool", 0.04, 128, {"kernel_shape": [2, 2], "strides": [2, 2]})):
        p = scale(op, value, zero)
        shown(node("QLinear" + op, [x] + x_p + p, "q" + op, **attrs), p)
    p = scale("Concat", 0.06, 115)
    shown(node("QLinearConcat", p + [x] + x_p + [y] + y_p, "qConcat", axis=1), p)
    rows_p, b_z = scale("rows", 0.04, 128), constant("b_z", np.int8(3))
    rows = node("QuantizeLinear", ["rows"] + rows_p, "rows_q")
    b = constant("b", rng.integers(-127, 127, (6, 10)).astype(np.int8))
    b_s = constant("b_s", np.float32(0.02))
    c = constant("c", rng.integers(-900, 900, 6).astype(np.int32))
    p = scale("Gemm", 0.2, 128)
    shown(node("QGemm", [rows] + rows_p + [b, b_s, b_z, c] + p, "qGemm", transB=1, alpha=1.0), p)
    node("QGemm", [rows] + rows_p + [b, b_s, b_z, c], "floats", transB=1)
    outputs.append(helper.make_tensor_value_info("floats", TensorProto.FLOAT, None))


def main():
    build()
    shapes = {"image": (2, 3, 4, 6), "other": (2, 3, 4, 6), "rows": (4, 10)}
    inputs = {n: rng.uniform(-4, 4, s).astype(np.float32) for n, s in shapes.items()}
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "qlinear", ports, outputs, constants), ir_version=10,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])
    os.makedirs(FOLDER, exist_ok=True)
    onnx.save(model, os.path.join(FOLDER, "model.onnx"))
    session = onnxruntime.InferenceSession(model.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    names = [o.name for o in outputs]
    for name, array in inputs.items():
        np.save(os.path.join(FOLDER, "in.%s.npy" % name), array)
    for name, array in zip(names, session.run(names, inputs)):
        np.save(os.path.join(FOLDER, "out.%s.npy" % name), array)


if __name__ == "__main__":
    main()
