#!/usr/bin/env python3
"""Write a pytorch-forecasting TemporalFusionTransformer as a folder that Moondial serves.

The folder holds two files and no pickle:

    model.safetensors   every tensor that the forward pass reads, once, under its state_dict name
    config.json         hyper-parameters, variable lists, scalers, encoders, target normalisers

FORMAT.md beside this file documents every field and the forward pass they describe.

The tensors are those of `tensors.py`, checked against the model: a missing name, a wrong shape, or
a tensor that nobody reads is an error here, at export, where the model is at hand.

Use:  export.py CHECKPOINT OUT_DIR              a Lightning checkpoint (a pickle: trust its origin)
      export(model, dataset, out_dir)           a model in memory with its TimeSeriesDataSet
      export(model, dataset.get_parameters(), out_dir)
"""

import argparse
import json
import math
import os
import sys

from tensors import forward_tensors

FORMAT_VERSION = 1
MODEL_TYPE = "temporal_fusion_transformer"

# Variables that the library computes per sample after scaling; their scalers are never applied.
COMPUTED_REALS = ("relative_time_idx", "encoder_length")

# What model(x) applies after de-normalising, by the library's transformation name.
TRANSFORMATIONS = ("log", "log1p", "logit", "count", "softplus", "relu", "sqrt")


class ExportError(ValueError):
    """The model uses something this format does not describe; the message names it."""


# ---- tensors ------------------------------------------------------------------------------------


def used_state(model, config):
    """The tensors of `forward_tensors`, checked to be all that the model's output depends on."""
    state = model.state_dict()
    wanted = forward_tensors(config)
    tensors, stored = {}, set()
    for name, shape in wanted.items():
        if name not in state:
            raise ExportError(f"the model has no tensor {name}: is this pytorch-forecasting 1.8?")
        if tuple(state[name].shape) != shape:
            raise ExportError(f"{name} is {tuple(state[name].shape)}, expected {shape}")
        tensors[name] = state[name].detach().cpu().float().contiguous().clone()
        stored.add(state[name].data_ptr())
    for name, tensor in state.items():
        unread_embedding = name.startswith("input_embeddings.") and name not in wanted
        if name in wanted or tensor.data_ptr() in stored or unread_embedding:
            continue
        raise ExportError(f"{name} is in the model, but this format does not describe it")
    return tensors


# ---- config -------------------------------------------------------------------------------------


def plain(value):
    """numpy scalars and 0-d tensors as finite Python numbers; anything else unchanged."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        raise ExportError("a scaler or normaliser holds a value that is not finite")
    return value


def describe_loss(loss):
    kind = type(loss).__name__
    if kind == "QuantileLoss":
        return {"loss": kind, "quantiles": [plain(q) for q in loss.quantiles]}
    # These pass the raw outputs through the normaliser, as QuantileLoss does.
    if kind in ("MAE", "RMSE", "SMAPE", "MAPE", "MASE", "PoissonLoss", "TweedieLoss",
                "CrossEntropy"):
        return {"loss": kind}
    raise ExportError(
        f"loss {kind} rescales its parameters in its own way; quantile and point losses are served"
    )


def describe_transformation(normalizer):
    name = getattr(normalizer, "transformation", None)
    if name is None or name in TRANSFORMATIONS:
        return name
    raise ExportError("a custom target transformation cannot be written as data")


def group_key(codes, groups, encoders):
    """Labels of one row of a fitted group normaliser, whose index holds the labels' codes."""
    codes = codes if isinstance(codes, tuple) else (codes,)
    labels = []
    for code, group in zip(codes, groups):
        encoder = encoders.get(group)
        by_code = {c: label for label, c in encoder.classes_.items()} if encoder else {}
        labels.append(str(by_code.get(code, code)))
    return labels


def group_rows(norm, groups, encoders):
    return [
        {
            "key": group_key(codes, groups, encoders),
            "center": plain(row["center"]),
            "scale": plain(row["scale"]),
        }
        for codes, row in norm.iterrows()
    ]


def describe_group_normalizer(normalizer, encoders):
    groups = list(normalizer.groups or [])
    facts = {"groups": groups, "scale_by_group": bool(normalizer.scale_by_group)}
    if not hasattr(normalizer, "norm_"):
        return facts  # never fitted: callers bring every target_scale themselves
    if not groups:
        return facts | {key: plain(normalizer.norm_[key]) for key in ("center", "scale")}
    if normalizer.scale_by_group:
        facts["rows"] = {g: group_rows(normalizer.norm_[g], [g], encoders) for g in groups}
        facts["missing"] = {
            g: {key: plain(v) for key, v in normalizer.missing_[g].items()} for g in groups
        }
        return facts
    facts["rows"] = group_rows(normalizer.norm_, groups, encoders)
    facts["missing"] = {key: plain(v) for key, v in normalizer.missing_.items()}
    return facts


def describe_normalizer(normalizer, encoders):
    """A target normaliser (or a target-like scaler of a covariate) as JSON data."""
    kind = type(normalizer).__name__
    if kind == "NaNLabelEncoder":
        return {"kind": "label", "transformation": None} | describe_encoder(normalizer)
    facts = {
        "method": normalizer.method,
        "centered": bool(normalizer.center),
        "transformation": describe_transformation(normalizer),
    }
    if getattr(normalizer, "method_kwargs", None):
        facts["method_kwargs"] = {k: plain(v) for k, v in normalizer.method_kwargs.items()}
    if kind == "GroupNormalizer":
        return {"kind": "group"} | facts | describe_group_normalizer(normalizer, encoders)
    if kind == "EncoderNormalizer":
        return {"kind": "encoder", "max_length": normalizer.max_length} | facts
    if kind == "TorchNormalizer":
        if hasattr(normalizer, "center_"):
            facts |= {"center": plain(normalizer.center_), "scale": plain(normalizer.scale_)}
        return {"kind": "torch"} | facts
    raise ExportError(f"target normaliser {kind} is not described by this format")


def describe_scaler(name, scaler, encoders):
    """How a raw value of one real becomes a model input."""
    if name in COMPUTED_REALS:
        return {"kind": "computed"}
    if scaler is None:
        return {"kind": "identity"}
    kind = type(scaler).__name__
    if kind == "StandardScaler":
        mean = scaler.mean_[0] if scaler.mean_ is not None else 0.0
        scale = scaler.scale_[0] if scaler.scale_ is not None else 1.0
    elif kind == "RobustScaler":
        mean = scaler.center_[0] if scaler.center_ is not None else 0.0
        scale = scaler.scale_[0] if scaler.scale_ is not None else 1.0
    elif kind == "MinMaxScaler":
        mean, scale = -scaler.min_[0] / scaler.scale_[0], 1.0 / scaler.scale_[0]
    elif kind in ("GroupNormalizer", "EncoderNormalizer", "TorchNormalizer"):
        return describe_normalizer(scaler, encoders)
    else:
        raise ExportError(f"scaler {kind} of {name} is not described by this format")
    return {"kind": "standard", "mean": plain(mean), "scale": plain(scale)}


def describe_encoder(encoder):
    return {
        "add_nan": bool(encoder.add_nan),
        "classes": {str(label): int(code) for label, code in encoder.classes_.items()},
    }


def as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def describe_targets(model, names, encoders):
    losses = getattr(model.loss, "metrics", None) if model.n_targets > 1 else [model.loss]
    normalizer = model.output_transformer
    normalizers = normalizer.normalizers if model.n_targets > 1 else [normalizer]
    sizes = as_list(model.hparams.output_size)
    return [
        {"name": name, "output_size": int(size)}
        | describe_loss(loss)
        | {"normalizer": describe_normalizer(one, encoders)}
        for name, size, loss, one in zip(names, sizes, losses, normalizers, strict=True)
    ]


def hyper_parameters(model):
    h = model.hparams
    lists = (
        "x_reals", "x_categoricals", "static_categoricals", "static_reals",
        "time_varying_categoricals_encoder", "time_varying_categoricals_decoder",
        "time_varying_reals_encoder", "time_varying_reals_decoder",
    )
    used = set(model.categoricals)
    return {
        "hidden_size": int(h.hidden_size),
        "attention_head_size": int(h.attention_head_size),
        "lstm_layers": int(h.lstm_layers),
        "output_size": (
            [int(size) for size in h.output_size]
            if isinstance(h.output_size, (list, tuple)) else int(h.output_size)
        ),
        "causal_attention": bool(h.causal_attention),
        "mask_bias": float(h.mask_bias) if math.isfinite(h.mask_bias) else str(h.mask_bias),
        "share_single_variable_networks": bool(h.share_single_variable_networks),
        **{key: list(h[key]) for key in lists},
        "categorical_groups": {k: list(v) for k, v in h.categorical_groups.items()},
        "embedding_sizes": {
            name: [int(rows), int(size)]
            for name, (rows, size) in model.input_embeddings.embedding_sizes.items()
            if name in used
        },
        "hidden_continuous_sizes": {
            name: int(model.prescalers[name].out_features) for name in model.reals
        },
    }


def lagged_names(parameters):
    """{lagged column: (column it repeats, steps)}; it is scaled as the original is."""
    return {
        f"{name}_lagged_by_{lag}": (name, int(lag))
        for name, lags in (parameters.get("lags") or {}).items() for lag in lags
    }


def describe_reals(config, parameters, role, lagged):
    encoders, scalers = parameters["categorical_encoders"], parameters["scalers"]
    targets = as_list(parameters["target"])
    reals = []
    for name in config["x_reals"]:
        origin, lag = lagged.get(name, (name, 0))
        scaler = ({"kind": "target", "target": targets.index(origin)} if origin in targets
                  else describe_scaler(origin, scalers.get(origin), encoders))
        reals.append({"name": name, "role": role(name)}
                     | ({"lagged": origin, "steps": lag} if lag else {}) | {"scaler": scaler})
    return reals


def describe_categoricals(config, parameters, role, lagged):
    encoders = dict(parameters["categorical_encoders"])
    normalizer = parameters["target_normalizer"]
    for name, one in zip(as_list(parameters["target"]), getattr(normalizer, "normalizers",
                                                                [normalizer])):
        encoders.setdefault(name, one)  # a categorical target's normaliser is its encoder
    groups = {c: g for g, columns in config["categorical_groups"].items() for c in columns}
    categoricals = []
    for name in config["x_categoricals"]:
        origin, lag = lagged.get(name, (groups.get(name, name), 0))
        categoricals.append({"name": name, "role": role(groups.get(name, name))}
                            | ({"lagged": origin, "steps": lag} if lag else {})
                            | describe_encoder(encoders[origin]))
    return categoricals


def describe_dataset(config, parameters):
    """What turns raw columns into the model's inputs; see FORMAT.md, "Preparing the inputs"."""
    known = config["time_varying_reals_decoder"] + config["time_varying_categoricals_decoder"]
    static = config["static_reals"] + config["static_categoricals"]
    lagged = lagged_names(parameters)

    def role(name):
        return "static" if name in static else "known" if name in known else "unknown"

    return {
        "time_idx": parameters["time_idx"],
        "group_ids": list(parameters["group_ids"]),
        "targets": as_list(parameters["target"]),
        "min_encoder_length": int(parameters["min_encoder_length"] or 0),
        "max_encoder_length": int(parameters["max_encoder_length"]),
        "min_prediction_length": int(parameters["min_prediction_length"] or 1),
        "max_prediction_length": int(parameters["max_prediction_length"]),
        "reals": describe_reals(config, parameters, role, lagged),
        "categoricals": describe_categoricals(config, parameters, role, lagged),
    }


def build_config(model, dataset=None, extra=None):
    parameters = dataset.get_parameters() if hasattr(dataset, "get_parameters") else dataset
    config = {
        "model_type": MODEL_TYPE,
        "format_version": FORMAT_VERSION,
        "library": library_version(),
    } | hyper_parameters(model)
    # The forward pass reads max_encoder_length from the inputs; it is kept for callers.
    config["max_encoder_length"] = int(model.hparams.max_encoder_length)
    encoders = parameters["categorical_encoders"] if parameters else {}
    names = as_list(parameters["target"]) if parameters else [
        f"target_{index}" for index in range(model.n_targets)
    ]
    config["targets"] = describe_targets(model, names, encoders)
    if parameters:
        config["dataset"] = describe_dataset(config, parameters)
    return config | (extra or {})


def library_version():
    import pytorch_forecasting

    return f"pytorch-forecasting {pytorch_forecasting.__version__}"


# ---- writing ------------------------------------------------------------------------------------


def write_whole(path, content):
    """Write beside the target and rename, so a reader never sees half a file."""
    part = path + ".part"
    with open(part, "wb") as file:
        file.write(content)
    os.replace(part, path)


def export(model, dataset, out_dir, extra=None):
    """Write `model` as out_dir/config.json and out_dir/model.safetensors; returns the config.

    `dataset` is the TimeSeriesDataSet the model was trained with, its `get_parameters()`, or None
    for a model without one (then config.json has no "dataset" object). `extra` adds fields.
    """
    from safetensors.torch import save

    config = build_config(model, dataset, extra)
    tensors = used_state(model, config)
    text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    os.makedirs(out_dir, exist_ok=True)
    write_whole(os.path.join(out_dir, "model.safetensors"), save(tensors))
    write_whole(os.path.join(out_dir, "config.json"), text.encode())
    return config


def load_checkpoint(path):
    from pytorch_forecasting import TemporalFusionTransformer

    model = TemporalFusionTransformer.load_from_checkpoint(
        path, map_location="cpu", weights_only=False
    )
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description="Export a TFT checkpoint for Moondial.")
    parser.add_argument("checkpoint", help="Lightning checkpoint of a TemporalFusionTransformer")
    parser.add_argument("out_dir", help="folder to write config.json and model.safetensors into")
    arguments = parser.parse_args()
    if not os.path.isfile(arguments.checkpoint):
        sys.exit(f"export.py: no such checkpoint: {arguments.checkpoint}")
    model = load_checkpoint(arguments.checkpoint)
    try:
        export(model, getattr(model, "dataset_parameters", None), arguments.out_dir)
    except ExportError as error:
        sys.exit(f"export.py: {error}")
    print(f"wrote {arguments.out_dir}: {model.size():,} parameters")


if __name__ == "__main__":
    main()
