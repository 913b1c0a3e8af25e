"""Small TemporalFusionTransformers of many shapes, their inputs, and the library's own answers.

Shared by `make_tft_fixtures.py` (which commits a fixed set of them) and by `run` (which makes new
ones each time, when PyTorch is installed). Every model is built through the library's own
TimeSeriesDataSet, so its encoders, scalers and normalisers are real fitted ones; its weights are
then drawn at random, *including* norms, gates and biases, which a fresh model holds at 1 and 0
where a mistake would not show.

The yardstick is the same model run in float64. `library_error` is what the library itself loses
by running in float32; Moondial may lose at most three times that (plus 1e-5 of the largest output).
"""

import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.data import (
    EncoderNormalizer,
    GroupNormalizer,
    MultiNormalizer,
    NaNLabelEncoder,
    TorchNormalizer,
)
from pytorch_forecasting.metrics import MAE, RMSE, MultiLoss, QuantileLoss

INPUTS = (
    "encoder_cat", "encoder_cont", "encoder_lengths",
    "decoder_cat", "decoder_cont", "decoder_lengths",
)

QUANTILES = {1: [0.5], 3: [0.1, 0.5, 0.9], 5: [0.1, 0.25, 0.5, 0.75, 0.9],
             7: [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]}


def frame(rng, groups=4, length=40):
    """A long table with every column that a case may name; targets lie in (0, 1)."""
    rows = groups * length
    table = pd.DataFrame({
        "series": np.repeat([f"s{i}" for i in range(groups)], length),
        "step": np.tile(np.arange(length), groups),
        "kind": np.repeat(rng.choice(["a", "b", "c"], groups), length),
        "region": np.repeat([f"r{i % 3}" for i in range(groups)], length),
        "size": np.repeat(rng.normal(5, 3, groups), length),
    })
    for name, classes in (("state", 5), ("weekday", 7), ("tag_one", 4), ("tag_two", 4)):
        table[name] = rng.choice([f"v{i}" for i in range(classes)], rows)
    for index in range(6):
        table[f"known_{index}"] = rng.normal(index, 1 + index, rows)
        table[f"unknown_{index}"] = rng.normal(-index, 2 + index, rows)
    for index in range(3):
        table[f"target_{index}"] = rng.uniform(0.05, 0.95, rows)
    return table


def names(prefix, count):
    return [f"{prefix}_{index}" for index in range(count)]


def normalizer(kind, transformation):
    if kind == "group":
        return GroupNormalizer(groups=["series"], transformation=transformation)
    if kind == "encoder":
        return EncoderNormalizer(transformation=transformation)
    return TorchNormalizer(transformation=transformation)


def dataset(case, rng):
    """The TimeSeriesDataSet of one case; see CASES for the keys and their defaults."""
    targets = case.get("targets", [("group", "softplus", 7)])
    made = [normalizer(kind, transformation) for kind, transformation, _ in targets]
    columns = names("target", len(targets))
    single = len(targets) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TimeSeriesDataSet(
            frame(rng),
            time_idx="step",
            target=columns[0] if single else columns,
            group_ids=["series"],
            min_encoder_length=case.get("encoder_min", 2),
            max_encoder_length=case.get("encoder", 12),
            min_prediction_length=1,
            max_prediction_length=case.get("decoder", 6),
            static_categoricals=case.get("static_categoricals", []),
            static_reals=case.get("static_reals", []),
            time_varying_known_categoricals=case.get("known_categoricals", []),
            time_varying_unknown_categoricals=case.get("unknown_categoricals", []),
            time_varying_known_reals=names("known", case.get("known", 0)),
            time_varying_unknown_reals=names("unknown", case.get("unknown", 0))
            + (columns if case.get("own_past", True) else []),
            variable_groups=case.get("variable_groups", {}),
            categorical_encoders={
                name: NaNLabelEncoder(add_nan=True) for name in case.get("unknown_categoricals", [])
            },
            target_normalizer=made[0] if single else MultiNormalizer(made),
            add_relative_time_idx=case.get("relative_time_idx", True),
            add_target_scales=case.get("target_scales", False),
            add_encoder_length=case.get("encoder_length", False),
            randomize_length=None,
        )


def losses(case):
    made = []
    for index, (_, _, size) in enumerate(case.get("targets", [("group", "softplus", 7)])):
        point = MAE() if index % 2 == 0 else RMSE()
        made.append(QuantileLoss(QUANTILES[size]) if size > 1 else point)
    return made[0] if len(made) == 1 else MultiLoss(made)


def perturb(model, rng):
    """Random values for every parameter: near 1 for norm weights, off 0 for biases and masks."""
    spread = {"mask": 0.7, "bias": 0.2}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.tensor(rng.normal(size=tuple(parameter.shape)), dtype=torch.float32)
            if ".norm." in name and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * noise)
            elif name.rsplit(".", 1)[-1] in spread or ".bias_" in name:
                parameter.copy_(spread.get(name.rsplit(".", 1)[-1], 0.2) * noise)
            else:
                parameter.copy_(1.2 * noise / max(1, parameter.shape[-1]) ** 0.5)


def model_of(case, data, rng):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TemporalFusionTransformer.from_dataset(
            data,
            loss=losses(case),
            hidden_size=case["hidden"],
            attention_head_size=case["heads"],
            lstm_layers=case.get("layers", 1),
            hidden_continuous_size=case.get("continuous", 8),
            hidden_continuous_sizes=case.get("continuous_sizes", {}),
            share_single_variable_networks=case.get("shared", False),
            causal_attention=case.get("causal", True),
            dropout=0.1,
            output_size=(
                [size for _, _, size in case["targets"]]
                if len(case.get("targets", [0])) > 1
                else case.get("targets", [("", "", 7)])[0][2]
            ),
        )
    perturb(model, rng)
    return model.eval()


def lengths_of(case, batch, rng):
    """Encoder and decoder lengths; each list's largest is the time dimension (library rule)."""
    encoder = case.get("encoder_lengths")
    decoder = case.get("decoder_lengths")
    if encoder is None:
        encoder = rng.integers(1, case.get("encoder", 12) + 1, batch)
    if decoder is None:
        decoder = rng.integers(1, case.get("decoder", 6) + 1, batch)
    return np.array(encoder, np.int64), np.array(decoder, np.int64)


def part(model, lengths, rng):
    """Random categorical and continuous inputs, zero past each row's length as the library pads."""
    hparams, steps = model.hparams, int(lengths.max())
    groups = model.categorical_groups_mapping
    cat = np.zeros((len(lengths), steps, len(hparams.x_categoricals)), np.int64)
    for index, name in enumerate(hparams.x_categoricals):
        rows = model.input_embeddings.embedding_sizes[groups.get(name, name)][0]
        cat[:, :, index] = rng.integers(0, rows, cat.shape[:2])
    cont = rng.normal(size=(len(lengths), steps, len(hparams.x_reals))).astype(np.float32)
    past = np.arange(steps)[None, :] >= lengths[:, None]
    cat[past], cont[past] = 0, 0
    return cat, cont


def inputs_of(case, model, rng):
    """The forward inputs by name. target_scale is [B, 2]; with several targets [B, targets, 2]."""
    batch = len(case.get("encoder_lengths", range(case.get("batch", 4))))
    encoder_lengths, decoder_lengths = lengths_of(case, batch, rng)
    encoder_cat, encoder_cont = part(model, encoder_lengths, rng)
    decoder_cat, decoder_cont = part(model, decoder_lengths, rng)
    scale = np.stack(
        [rng.normal(0.5, 1, (batch, model.n_targets)),
         rng.uniform(0.3, 1.5, (batch, model.n_targets))], -1,
    ).astype(np.float32)
    return {
        "encoder_cat": encoder_cat, "encoder_cont": encoder_cont,
        "encoder_lengths": encoder_lengths,
        "decoder_cat": decoder_cat, "decoder_cont": decoder_cont,
        "decoder_lengths": decoder_lengths,
        "target_scale": scale if model.n_targets > 1 else scale[:, 0],
    }


def predict(model, inputs, dtype):
    """model(x)["prediction"] as a list of float64 arrays, computed in `dtype`."""
    model = model.to(dtype)
    x = {
        name: torch.tensor(value, dtype=dtype if value.dtype == np.float32 else torch.int64)
        for name, value in inputs.items()
    }
    if model.n_targets > 1:
        x["target_scale"] = list(x["target_scale"].unbind(1))
    # The library allocates some zeros without a dtype, hence the default.
    torch.set_default_dtype(dtype)
    with torch.no_grad():
        prediction = model(x)["prediction"]
    torch.set_default_dtype(torch.float32)
    prediction = prediction if isinstance(prediction, (list, tuple)) else [prediction]
    return [one.double().numpy() for one in prediction]


def answers(model, inputs):
    """(float64 predictions, the library's own float32 error per prediction)"""
    single = predict(model, inputs, torch.float32)
    double = predict(model, inputs, torch.float64)
    model.to(torch.float32)
    return double, [float(np.abs(s - d).max()) for s, d in zip(single, double)]


def make(case, seed):
    """(model, dataset, inputs) of one case; the seed decides data, weights and inputs."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    data = dataset(case, rng)
    model = model_of(case, data, rng)
    return model, data, inputs_of(case, model, rng)
