#!/usr/bin/env python3
"""Makes models/*.onnx, the small ONNX files of test_onnx_scripts.py. Needs the onnx package.

    tests/server/make_models.py

pooled.onnx   three inputs of other types than float32, all along "batch": calls can share a batch
choose.onnx   NonZero, an If and a Loop: shapes that depend on data
"""
import os

import onnx
from onnx import TensorProto, helper

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")


def value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name, dtype, shape, numbers):
    return helper.make_tensor(name, dtype, shape, numbers)


def pooled():
    nodes = [
        helper.make_node("Cast", ["ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Where", ["mask", "numbers", "zero"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axis"], ["sum"], keepdims=0),
        helper.make_node("Add", ["ids", "ids"], ["twice"]),
        helper.make_node("Not", ["mask"], ["dropped"]),
        helper.make_node("Mul", ["scale", "scale"], ["square"]),
    ]
    inputs = [value("ids", TensorProto.INT64, ["batch", "n"]),
              value("mask", TensorProto.BOOL, ["batch", "n"]),
              value("scale", TensorProto.FLOAT16, ["batch", 1])]
    outputs = [value("sum", TensorProto.FLOAT, ["batch"]),
               value("twice", TensorProto.INT64, ["batch", "n"]),
               value("dropped", TensorProto.BOOL, ["batch", "n"]),
               value("square", TensorProto.FLOAT16, ["batch", 1])]
    weights = [constant("zero", TensorProto.FLOAT, [], [0.0]),
               constant("axis", TensorProto.INT64, [1], [1])]
    return helper.make_graph(nodes, "pooled", inputs, outputs, weights)


def branch(name, op):
    """x doubled, or its positive elements' positions."""
    nodes = [helper.make_node(op, ["x", "x"] if op == "Add" else ["x"], [name + "_result"])]
    if op != "Add":
        nodes.append(helper.make_node("Cast", [name + "_result"], [name + "_cast"],
                                      to=TensorProto.FLOAT))
    return helper.make_graph(nodes, name, [], [value(nodes[-1].output[0], TensorProto.FLOAT, None)])


def loop_body():
    nodes = [helper.make_node("Add", ["total", "x"], ["next"]),
             helper.make_node("Identity", ["going"], ["still"])]
    inputs = [value("i", TensorProto.INT64, []), value("going", TensorProto.BOOL, []),
              value("total", TensorProto.FLOAT, ["m"])]
    outputs = [value("still", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, ["m"])]
    return helper.make_graph(nodes, "body", inputs, outputs)


def choose():
    nodes = [
        helper.make_node("If", ["double"], ["result"], then_branch=branch("yes", "Add"),
                         else_branch=branch("no", "NonZero")),
        helper.make_node("Loop", ["trips", "", "x"], ["total"], body=loop_body()),
    ]
    inputs = [value("double", TensorProto.BOOL, []), value("trips", TensorProto.INT64, []),
              value("x", TensorProto.FLOAT, ["m"])]
    outputs = [value("result", TensorProto.FLOAT, None), value("total", TensorProto.FLOAT, ["m"])]
    return helper.make_graph(nodes, "choose", inputs, outputs)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for graph in pooled(), choose():
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, os.path.join(FOLDER, graph.name + ".onnx"))


if __name__ == "__main__":
    main()
