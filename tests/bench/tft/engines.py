"""The library's TFT and what runs it elsewhere: PyTorch, ONNX Runtime, OpenVINO.

The library's model packs sequences by their lengths, which exports cannot follow; `unpacked` gives
the same model for rows of full length. What runs a model is a function of its inputs, arrays by
name, that returns the prediction as an array [rows, steps, quantiles].
"""

import hashlib
import json
import logging
import os
import warnings

import numpy as np

# What an export with full-length rows still reads.
EXPORTED = ("encoder_cat", "encoder_cont", "decoder_cat", "decoder_cont", "target_scale")


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
        raise SystemExit(f"tft bench: tensors nobody reads: {unexpected}")
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
    """torch's own LSTM with the same weights: torch.compile cannot trace the library's subclass."""
    import torch

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(packed.input_size, packed.hidden_size, packed.num_layers,
                                      batch_first=True)
            self.lstm.load_state_dict(packed.state_dict())

        def forward(self, x, hx, lengths=None, enforce_sorted=False):
            return self.lstm(x, (hx[0].contiguous(), hx[1].contiguous()))

    return Plain()


def digest(folder):
    """A name for the folder's weights."""
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]


def onnx_file(folder, batch, cache):
    """Path of the folder's model as ONNX, simplified, for `batch` rows of full length; made when
    the folder `cache` does not have it."""
    path = os.path.join(cache, f"tft_{digest(folder)}_{batch}.onnx")
    if not os.path.exists(path):
        os.makedirs(cache, exist_ok=True)
        export(folder, batch, path + ".new")
        os.replace(path + ".new", path)
    return path


def export(folder, batch, path):
    import onnx
    import onnxsim
    import torch

    model, config = library_model(folder)
    inputs = random_inputs(config, batch, np.random.default_rng(batch))
    full = unpacked(model, inputs["encoder_cat"].shape[1], inputs["decoder_cat"].shape[1])
    arguments = tuple(as_tensors(inputs, torch.float32)[name] for name in EXPORTED)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(full, arguments, path, dynamo=True, input_names=list(EXPORTED),
                          external_data=False, verbose=False)
    simple, _ = onnxsim.simplify(onnx.load(path))
    onnx.save(simple, path)


def onnx_session(path, threads):
    """A function of the inputs by name; names that the export does not read are left out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda inputs: session.run(None, {name: inputs[name] for name in names})[0]


def openvino_model(path, threads, **settings):
    import openvino

    settings |= {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return compiled, [port.get_any_name() for port in compiled.inputs]


def openvino_request(path, threads):
    """As onnx_session; the array is overwritten by the next call."""
    import openvino

    compiled, names = openvino_model(path, threads, PERFORMANCE_HINT="LATENCY")
    request = compiled.create_infer_request()

    def call(inputs):
        tensors = {name: openvino.Tensor(inputs[name]) for name in names}
        return request.infer(tensors, share_outputs=True)[0]
    return call


def openvino_streams(path, threads):
    """A function of a list of inputs, which one thread each computes side by side."""
    compiled, names = openvino_model(path, threads, NUM_STREAMS=threads)
    requests = [compiled.create_infer_request() for _ in range(threads)]

    def call(batches):
        outputs = [None] * len(batches)
        for first in range(0, len(batches), threads):
            some = list(zip(requests, batches[first:first + threads]))
            for request, inputs in some:
                request.start_async({name: inputs[name] for name in names})
            for place, (request, _) in enumerate(some):
                request.wait()
                outputs[first + place] = request.get_output_tensor(0).data.copy()
        return outputs
    return call
