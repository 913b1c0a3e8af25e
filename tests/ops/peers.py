"""What onnxruntime, or onnx's reference evaluator, gives for one node: for make_expected_*.py."""
import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator


def model_of(op, inputs, outputs, domain, opset, attrs):
    names = ["x%d" % i if x is not None else "" for i, x in enumerate(inputs)]
    ports = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
             for n, x in zip(names, inputs) if n]
    results = ["y%d" % i for i in range(outputs)]
    graph = helper.make_graph([helper.make_node(op, names, results, domain=domain, **attrs)],
                              "case", ports, [helper.make_empty_tensor_value_info(y)
                                              for y in results])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    feeds = {n: x for n, x in zip(names, inputs) if n}
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), feeds


def runtime_gives(op, inputs, outputs=1, domain="", opset=22, **attrs):
    model, feeds = model_of(op, inputs, outputs, domain, opset, attrs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, feeds)]


def onnx_gives(op, inputs, outputs=1, **attrs):
    opset = onnx.defs.onnx_opset_version()
    model, feeds = model_of(op, inputs, outputs, "", opset, attrs)
    return [np.asarray(y) for y in ReferenceEvaluator(model).run(None, feeds)]
