#!/usr/bin/env python3
"""TFT inference, Moondial beside its peers: the same weights, the same inputs, one run.

    tests/bench/tft/peers.py --batch 20,100 --threads 2

Peers: PyTorch eager (`model(x)` as the library runs it, and with the LSTM unpacked, which is faster
and what the other exports need), torch.compile (fixed batch, takes minutes to compile;
`--no-compile` leaves it out), ONNX Runtime (dynamo export, simplified by onnxsim). Measurements
are interleaved in rounds, because neighbours on a shared machine slow everybody down for a while:
read the ratios.

Each peer's output is checked against the library in float64 first; one that is wrong is not timed.
Moondial is timed by `moondial bench --json`, which draws new random rows for every iteration and
computes every output, and checked by `moondial run`.

Needs the packages of tests/requirements.txt and a release build ($MOONDIAL names another binary).
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", "..", ".."))
BINARY = os.environ.get("MOONDIAL", os.path.join(ROOT, "build", "release", "moondial"))
INPUTS = ("encoder_cat", "encoder_cont", "encoder_lengths", "decoder_cat", "decoder_cont",
          "decoder_lengths", "target_scale")
# What an export with full-length rows still reads.
EXPORTED = ("encoder_cat", "encoder_cont", "decoder_cat", "decoder_cont", "target_scale")
MOONDIAL = "Moondial"


def library_model(folder):
    """The library's own model with the folder's weights; one target, quantile loss."""
    from pytorch_forecasting import TemporalFusionTransformer
    from pytorch_forecasting.data import GroupNormalizer
    from pytorch_forecasting.metrics import QuantileLoss
    from safetensors.torch import load_file

    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    target = config["targets"][0]
    names = (
        "hidden_size", "attention_head_size", "lstm_layers", "output_size", "causal_attention",
        "share_single_variable_networks", "x_reals", "x_categoricals", "static_categoricals",
        "static_reals", "time_varying_categoricals_encoder", "time_varying_categoricals_decoder",
        "time_varying_reals_encoder", "time_varying_reals_decoder", "categorical_groups",
        "embedding_sizes", "hidden_continuous_sizes", "max_encoder_length",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TemporalFusionTransformer(
            **{name: config[name] for name in names}, loss=QuantileLoss(target["quantiles"]),
            output_transformer=GroupNormalizer(
                transformation=target["normalizer"]["transformation"]),
        )
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    unexpected = model.load_state_dict(tensors, strict=False).unexpected_keys
    if unexpected:
        raise SystemExit(f"peers.py: tensors nobody reads: {unexpected}")
    return model.eval(), config


def random_inputs(config, batch, rng):
    past = config["max_encoder_length"]
    future = config["dataset"]["max_prediction_length"]
    rows = [config["embedding_sizes"][name][0] for name in config["x_categoricals"]]

    def cat(steps):
        return np.stack([rng.integers(0, n, (batch, steps)) for n in rows], -1)

    def cont(steps):
        return rng.normal(size=(batch, steps, len(config["x_reals"]))).astype(np.float32)

    return {
        "encoder_cat": cat(past), "encoder_cont": cont(past),
        "encoder_lengths": np.full(batch, past),
        "decoder_cat": cat(future), "decoder_cont": cont(future),
        "decoder_lengths": np.full(batch, future),
        "target_scale": np.stack([rng.normal(20, 5, batch), rng.uniform(5, 15, batch)], -1)
        .astype(np.float32),
    }


def as_tensors(inputs, dtype):
    import torch

    return {name: torch.tensor(value, dtype=dtype if value.dtype == np.float32 else torch.int64)
            for name, value in inputs.items()}


class FullLength:
    """Stands in for a tensor of lengths that are all the same, so that exports see a constant."""

    def __init__(self, steps):
        self.steps = steps

    def max(self):
        return self.steps


def unpacked(model, past, future):
    """A module of the EXPORTED inputs, for rows of full length: no packing, constant masks."""
    import torch

    class Full(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            lengths = {"encoder_lengths": FullLength(past), "decoder_lengths": FullLength(future)}
            return self.model(dict(zip(EXPORTED, inputs)) | lengths)["prediction"]

    for name in ("lstm_encoder", "lstm_decoder"):
        setattr(model, name, plain_lstm(getattr(model, name)))
    steps = torch.arange(future)
    causal = steps[None, :] >= steps[:, None]
    mask = torch.cat([torch.zeros(future, past, dtype=torch.bool), causal], 1)[None]
    model.get_attention_mask = lambda encoder_lengths, decoder_lengths: mask
    return Full().eval()


def plain_lstm(packed):
    import torch

    class Plain(torch.nn.LSTM):
        def forward(self, x, hx, lengths=None, enforce_sorted=False):
            return super().forward(x, tuple(state.contiguous() for state in hx))

    plain = Plain(packed.input_size, packed.hidden_size, packed.num_layers, batch_first=True)
    plain.load_state_dict(packed.state_dict())
    return plain.to(next(packed.parameters()).dtype)


def onnx_session(full, inputs, threads, folder):
    import onnx
    import onnxruntime
    import onnxsim
    import torch

    path = os.path.join(folder, f"tft_{len(inputs['encoder_cat'])}.onnx")
    arguments = tuple(as_tensors(inputs, torch.float32)[name] for name in EXPORTED)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(full, arguments, path, dynamo=True, input_names=list(EXPORTED),
                          external_data=False, verbose=False)
    simple, _ = onnxsim.simplify(onnx.load(path))
    onnx.save(simple, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    used = {one.name for one in session.get_inputs()}
    feed = {name: inputs[name] for name in EXPORTED if name in used}
    return lambda: session.run(None, feed)[0]


def peers(folder, inputs, arguments, scratch):
    """Name -> function that computes the prediction as an array."""
    import torch

    model, _ = library_model(folder)
    x = as_tensors(inputs, torch.float32)

    def eager():
        with torch.no_grad():
            return model(x)["prediction"].numpy()

    plain, _ = library_model(folder)
    full = unpacked(plain, inputs["encoder_cat"].shape[1], inputs["decoder_cat"].shape[1])
    fixed = tuple(x[name] for name in EXPORTED)

    def run(module):
        def call():
            with torch.no_grad():
                return module(*fixed).numpy()
        return call

    made = {"PyTorch eager": eager, "PyTorch eager, LSTM unpacked": run(full)}
    made["ONNX Runtime"] = onnx_session(full, inputs, arguments.threads, scratch)
    if arguments.compile:
        made["torch.compile"] = run(torch.compile(full))
    return made


def truth(folder, inputs):
    import torch

    model, _ = library_model(folder)
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        out = model.double()(as_tensors(inputs, torch.float64))["prediction"].numpy()
    torch.set_default_dtype(torch.float32)
    return out


def moondial_prediction(folder, inputs, arguments, scratch):
    command = [BINARY, "run", folder, "--out", scratch, "--threads", str(arguments.threads)]
    for name in INPUTS:
        path = os.path.join(scratch, name + ".npy")
        np.save(path, inputs[name])
        command += ["--in", f"{name}={path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return np.load(os.path.join(scratch, "prediction.npy"))


def moondial_times(folder, batch, arguments):
    """Fastest and median milliseconds of one `moondial bench`."""
    done = subprocess.run(
        [BINARY, "bench", folder, "--batch", str(batch), "--threads", str(arguments.threads),
         "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    result = json.loads(done.stdout)["results"][0]
    return result["median_ms"], result["min_ms"]


def timed(call, seconds):
    """Milliseconds of each call, for about `seconds`, at least three."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times), min(times)


def measure(folder, batch, config, arguments):
    """Name -> {median_ms, min_ms, error} for one batch size; wrong or failing ones say why."""
    inputs = random_inputs(config, batch, np.random.default_rng(batch))
    expected, results, calls = truth(folder, inputs), {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        made = peers(folder, inputs, arguments, scratch)
        made[MOONDIAL] = lambda: moondial_prediction(folder, inputs, arguments, scratch)
        for name, call in made.items():
            try:
                error = float(np.abs(call() - expected).max())
            except (RuntimeError, OSError) as problem:
                results[name] = {"problem": str(problem)[:200]}
                continue
            if not error < 1e-3 * np.abs(expected).max():
                results[name] = {"problem": f"wrong by {error:.3g}"}
                continue
            results[name], calls[name] = {"error": error}, call
        rounds = {name: [] for name in calls}
        for _ in range(arguments.rounds):
            for name, call in calls.items():
                rounds[name].append(
                    moondial_times(folder, batch, arguments) if name == MOONDIAL
                    else timed(call, arguments.seconds))
    for name, pairs in rounds.items():
        results[name] |= {"median_ms": statistics.median(p[0] for p in pairs),
                          "min_ms": min(p[1] for p in pairs)}
    return results


def table(batch, results):
    ours = results.get(MOONDIAL, {}).get("median_ms")
    head = f"  {'':30}{'median ms':>11}{'fastest':>10}{'× Moondial':>12}  error"
    lines = [f"batch {batch}", head]
    for name, r in results.items():
        if "problem" in r:
            lines.append(f"  {name:30}{r['problem']}")
            continue
        ratio = f"{r['median_ms'] / ours:12.2f}" if ours else f"{'-':>12}"
        lines.append(
            f"  {name:30}{r['median_ms']:11.1f}{r['min_ms']:10.1f}{ratio}  {r['error']:.1e}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=os.path.join(ROOT, "scripts/fleet/models/tft"))
    parser.add_argument("--batch", default="20,100")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="per peer and round")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    import torch

    torch.set_num_threads(arguments.threads)
    _, config = library_model(arguments.model)
    found = {}
    for batch in (int(word) for word in arguments.batch.split(",")):
        found[batch] = measure(arguments.model, batch, config, arguments)
        if not arguments.json:
            print(table(batch, found[batch]), flush=True)
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "batches": found}))
    wrong = [name for results in found.values() for name, r in results.items() if "problem" in r]
    sys.exit(1 if MOONDIAL in wrong else 0)


if __name__ == "__main__":
    main()
