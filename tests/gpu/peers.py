#!/usr/bin/env python3
"""One peer with one model on the GPU, in a process of its own; prints one line of JSON.

    peers.py ENGINE NAME MODEL FOLDER     median_ms of a run; or `why` it could not be had
    peers.py machine                      what the GPU does at most, measured: float16 FLOP/s,
                                          bytes/s, seconds a kernel in a captured graph
    peers.py inputs MODEL OUT ROWS        inputs for a TFT folder, an .npy for each port
    peers.py hog MB                       takes all of the GPU's memory but so many MB, says how
                                          many it has, keeps them until its input ends

ENGINE: eager and compile (PyTorch in float16; compile with CUDA graphs), onnxruntime (its CUDA
provider), tensorrt (ONNX Runtime's TensorRT provider in float16). FOLDER holds NAME.npz, the inputs
that tests/bench/models/nets.py wrote. Inputs and outputs stay on the GPU while timing.
"""

import ctypes
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


def tft(path, rows=TFT_BATCH):
    sys.path.insert(0, os.path.join(ROOT, "tests", "bench", "tft"))
    import engines
    model, config = engines.library_model(path)
    return model, engines.random_inputs(config, rows, np.random.default_rng(7))


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


def onto_gpu(value, halved):
    import torch
    if isinstance(value, dict):
        return {key: onto_gpu(each, halved) for key, each in value.items()}
    value = value.cuda()
    return value.half() if halved and value.dtype == torch.float32 else value


def pytorch(name, path, compiled):
    """In float16 throughout; a model that cannot (the TFT's masks are beyond its range) as
    autocast has it."""
    import torch
    module, inputs = torch_model(name, path)
    module, halved = module.eval().cuda().half(), [onto_gpu(each, True) for each in inputs]
    cast = torch.autocast("cuda", dtype=torch.float16, enabled=False)
    with torch.inference_mode():
        try:
            module(*halved)
        except RuntimeError:
            module, halved = module.float(), [onto_gpu(each, False) for each in inputs]
            cast = torch.autocast("cuda", dtype=torch.float16)
        if compiled:
            module = torch.compile(module, mode="reduce-overhead")
        with cast:
            return median_ms(lambda: module(*halved), torch.cuda.synchronize)


def onnx_inputs(name, path, folder):
    """(the file, its arrays); the TFT is exported first."""
    if path.endswith(".onnx"):
        return path, np.load(os.path.join(folder, name + ".npz"))
    _, inputs = tft(path)
    import engines
    return engines.onnx_file(path, TFT_BATCH, folder), inputs


def onnx_runtime(name, path, folder, provider):
    import onnxruntime
    if provider[0] not in onnxruntime.get_available_providers():
        raise RuntimeError(f"this onnxruntime has no {provider[0]}")
    file, arrays = onnx_inputs(name, path, folder)
    session = onnxruntime.InferenceSession(file, providers=[provider])
    binding = session.io_binding()
    for port in session.get_inputs():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(arrays[port.name], "cuda", 0)
        binding.bind_ortvalue_input(port.name, value)
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
    return {"flops": 2 * side**3 / product * 1e3, "bytes": 2 * 2 * block.numel() / copy * 1e3,
            "launch_s": launch_s()}


def launch_s():
    """One of many small kernels in a captured graph, each waiting for the last."""
    import torch
    kernels = 1000
    numbers = torch.zeros(32, device="cuda")
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        numbers.add_(1)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(kernels):
            numbers.add_(1)
    return median_ms(graph.replay, torch.cuda.synchronize) / 1e3 / kernels


def write_inputs(path, out, rows):
    for port, array in tft(path, int(rows))[1].items():
        np.save(os.path.join(out, port + ".npy"), array)


def hog(leave_mb):
    """By the driver alone, which every machine with a GPU has."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, block = ctypes.c_void_p(), ctypes.c_uint64()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    device, held = ctypes.c_int(), 0

    def check(status):
        if status:
            raise RuntimeError(f"the driver says {status}")

    check(cuda.cuInit(0))
    check(cuda.cuDeviceGet(ctypes.byref(device), 0))
    check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    check(cuda.cuCtxSetCurrent(context))
    check(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    left = free.value - (int(leave_mb) << 20)
    while left > 1 << 20:
        piece = min(left, 1 << 30)
        if cuda.cuMemAlloc_v2(ctypes.byref(block), ctypes.c_size_t(piece)):
            break
        held, left = held + piece, left - piece
    print(held >> 20, flush=True)
    sys.stdin.read()


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
        write_inputs(*sys.argv[2:5])
    elif sys.argv[1] == "hog":
        hog(sys.argv[2])
    else:
        engine, name, path, folder = sys.argv[1:5]
        try:
            print(json.dumps({"median_ms": ENGINES[engine](name, path, folder)}))
        except Exception as error:  # whatever a peer may raise is the table's to tell
            print(json.dumps({"why": f"{type(error).__name__}: {error}"[:200]}))


if __name__ == "__main__":
    main()
