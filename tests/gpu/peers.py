#!/usr/bin/env python3
"""One peer with one model on the GPU, in a process of its own; prints one line of JSON.

    peers.py ENGINE NAME MODEL FOLDER     median_ms of a run; or `why` it could not be had
    peers.py machine                      the GPU's measured peaks: float16 FLOP/s, bytes/s
    peers.py inputs MODEL OUT             inputs for a TFT folder, an .npy for each port

ENGINE: eager and compile (PyTorch in float16; compile with CUDA graphs), onnxruntime (its CUDA
provider), tensorrt (ONNX Runtime's TensorRT provider in float16). FOLDER holds NAME.npz, the inputs
that tests/bench/models/nets.py wrote. Inputs and outputs stay on the GPU while timing.
"""

import json
import os
import statistics
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
SECONDS, ROUNDS_MIN = 3.0, 20
TFT_BATCH = 20


def median_ms(call, wait):
    """After a warm-up; each run is waited for."""
    times, begin = [], time.monotonic()
    for _ in range(5):
        call()
    wait()
    while len(times) < ROUNDS_MIN or time.monotonic() - begin < SECONDS:
        start = time.perf_counter()
        call()
        wait()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def tft(path):
    sys.path.insert(0, os.path.join(ROOT, "tests", "bench", "tft"))
    import engines
    model, config = engines.library_model(path)
    return model, engines.random_inputs(config, TFT_BATCH, np.random.default_rng(7))


def torch_model(name, path):
    """The module and its inputs by position or, for the TFT, as the one dict it takes."""
    import torch
    if not path.endswith(".onnx"):
        module, inputs = tft(path)
        return module, [{key: torch.as_tensor(value) for key, value in inputs.items()}]
    sys.path.insert(0, os.path.join(ROOT, "tests", "bench", "models"))
    import nets
    made = nets.models()[name]()
    return made[0], list(made[1].values())


def onto_gpu(value):
    import torch
    if isinstance(value, dict):
        return {key: onto_gpu(each) for key, each in value.items()}
    value = value.cuda()
    return value.half() if value.dtype == torch.float32 else value


def pytorch(name, path, compiled):
    import torch
    module, inputs = torch_model(name, path)
    module, inputs = module.eval().cuda().half(), [onto_gpu(each) for each in inputs]
    if compiled:
        module = torch.compile(module, mode="reduce-overhead")
    with torch.inference_mode():
        return median_ms(lambda: module(*inputs), torch.cuda.synchronize)


def onnx_runtime(name, path, folder, provider):
    import onnxruntime
    if provider[0] not in onnxruntime.get_available_providers():
        raise RuntimeError(f"this onnxruntime has no {provider[0]}")
    if not path.endswith(".onnx"):
        raise RuntimeError("the TFT is no ONNX file; export it with tests/bench/tft/run")
    session = onnxruntime.InferenceSession(path, providers=[provider])
    binding = session.io_binding()
    for port, array in np.load(os.path.join(folder, name + ".npz")).items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0)
        binding.bind_ortvalue_input(port, value)
    for port in session.get_outputs():
        binding.bind_output(port.name, "cuda")
    return median_ms(lambda: session.run_with_iobinding(binding), binding.synchronize_outputs)


def machine():
    import torch
    side = 8192
    a = torch.randn(side, side, device="cuda", dtype=torch.float16)
    product = median_ms(lambda: a @ a, torch.cuda.synchronize)
    block = torch.empty(1 << 30, device="cuda", dtype=torch.float16)
    other = torch.empty_like(block)
    copy = median_ms(lambda: other.copy_(block), torch.cuda.synchronize)
    return {"flops": 2 * side**3 / product * 1e3, "bytes": 2 * 2 * block.numel() / copy * 1e3}


def write_inputs(path, out):
    for port, array in tft(path)[1].items():
        np.save(os.path.join(out, port + ".npy"), array)


ENGINES = {
    "eager": lambda name, path, folder: pytorch(name, path, False),
    "compile": lambda name, path, folder: pytorch(name, path, True),
    "onnxruntime": lambda name, path, folder: onnx_runtime(
        name, path, folder, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "EXHAUSTIVE"})),
    "tensorrt": lambda name, path, folder: onnx_runtime(
        name, path, folder, ("TensorrtExecutionProvider", {"trt_fp16_enable": True})),
}


def main():
    if sys.argv[1] == "machine":
        print(json.dumps(machine()))
    elif sys.argv[1] == "inputs":
        write_inputs(*sys.argv[2:4])
    else:
        engine, name, path, folder = sys.argv[1:5]
        try:
            print(json.dumps({"median_ms": ENGINES[engine](name, path, folder)}))
        except Exception as error:  # whatever a peer may raise is the table's to tell
            print(json.dumps({"why": f"{type(error).__name__}: {error}"[:200]}))


if __name__ == "__main__":
    main()
