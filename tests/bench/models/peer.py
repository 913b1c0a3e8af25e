"""One peer with one model in a process of its own: peer.py ENGINE MODEL INPUTS.npz THREADS [CACHE]

Prints a JSON line when the model has answered once (what loading took, the process's peak memory,
what of that was there before the model), then, as `moondial bench --paced`, one for each line on
standard input, which says for how many seconds to run. A line "write FILE.npz" writes the outputs.

Every engine is at its best: all graph optimisations, latency before throughput, float32, inputs and
outputs bound beforehand. Only the engine and NumPy are imported, so that the memory is its own.
"""

import json
import statistics
import sys
import time

import numpy as np


def onnx_runtime(path, inputs, threads, cache):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if cache == "plain":            # the operators themselves: what outputs are compared with
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    def load():
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for port in session.get_inputs():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(inputs[port.name])
            binding.bind_ortvalue_input(port.name, value)
        names = [port.name for port in session.get_outputs()]
        for name in names:
            binding.bind_output(name, "cpu")

        def call():
            session.run_with_iobinding(binding)
            return None

        def outputs():
            return dict(zip(names, binding.copy_outputs_to_cpu()))

        return call, outputs

    return load


def openvino(path, inputs, threads, cache):
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32"}
    if cache:
        settings["CACHE_DIR"] = cache

    def load():
        compiled = ov.Core().compile_model(path, "CPU", settings)
        request = compiled.create_infer_request()
        for port in compiled.inputs:
            request.set_tensor(port, ov.Tensor(inputs[port.get_any_name()], shared_memory=True))

        def outputs():
            return {port.get_any_name(): np.array(request.get_tensor(port).data)
                    for port in compiled.outputs}

        return request.infer, outputs

    return load


ENGINES = {"onnxruntime": onnx_runtime, "openvino": openvino}


def peak_mb():
    """Of this program alone: getrusage would count what its parent was when it forked."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024 / 1e6


def timed(call, seconds):
    times, begun = [], time.perf_counter()
    while not times or time.perf_counter() - begun < seconds and len(times) < 1000:
        begin = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begin))
    return {"iterations": len(times), "median_ms": statistics.median(times), "min_ms": min(times)}


def say(row):
    print(json.dumps(row), flush=True)


def main():
    engine, path, inputs, threads = sys.argv[1:5]
    inputs = {name: np.ascontiguousarray(x) for name, x in np.load(inputs).items()}
    load = ENGINES[engine](path, inputs, int(threads), sys.argv[5] if sys.argv[5:] else None)
    before, begun = peak_mb(), time.perf_counter()
    call, outputs = load()
    call()
    say({"ready": True, "load_ms": 1000 * (time.perf_counter() - begun), "peak_mb": peak_mb(),
         "before_mb": before})
    for line in sys.stdin:
        if line.startswith("write "):
            np.savez(line[6:].strip(), **outputs())
            say({"written": line[6:].strip()})
        else:
            say(timed(call, float(line)))


if __name__ == "__main__":
    main()
