#!/usr/bin/env python3
"""Make the committed TFT fixtures under tests/reference/tft/, with the real library.

Each fixture is a folder: model/ (what export.py writes), one .npy per forward input, the
library's float64 answer as prediction.npy (or prediction_0.npy, ...), and error.json with the
library's own float32 error. `tests/reference/run` compares Moondial with them and needs only numpy.

Needs the packages of tests/requirements.txt. Run it again only when the format changes:
    tests/reference/make_tft_fixtures.py
"""

import json
import os
import shutil
import sys

os.environ.setdefault("OMP_NUM_THREADS", "2")

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "examples", "fleet", "train"))

import numpy as np  # noqa: E402

import tft_models  # noqa: E402
from export import export  # noqa: E402

# Each case names only what differs from the defaults in tft_models.
CASES = {
    # The fleet model in miniature: every role of variable, group normaliser, ragged both ways.
    "fleet_small": dict(
        hidden=16, heads=4, continuous=8, encoder=16, decoder=6,
        static_categoricals=["kind"], unknown_categoricals=["state"], known=4, unknown=5,
        target_scales=True, encoder_length=True,
        encoder_lengths=[16, 9, 1, 12], decoder_lengths=[6, 6, 3, 1],
    ),
    # Continuous sizes below, at and above hidden: each resampling path of a gated residual network.
    "continuous_sizes": dict(
        hidden=12, heads=3, layers=2, continuous=5,
        continuous_sizes={"known_0": 12, "known_1": 1, "unknown_0": 20, "size": 2},
        static_reals=["size"], static_categoricals=["kind", "region"],
        known_categoricals=["weekday"], known=2, unknown=2,
        targets=[("encoder", "log", 5)],
    ),
    # Single-variable networks shared by encoder and decoder; categoricals get full networks too.
    "shared_networks": dict(
        hidden=8, heads=2, layers=3, continuous=6, shared=True, causal=False,
        static_categoricals=["region"], known_categoricals=["weekday"],
        unknown_categoricals=["state"], known=2, unknown=1,
        targets=[("group", "relu", 3)],
    ),
    # Nothing static, nothing categorical, nothing known; encoders of length 0 beside longer ones.
    "bare": dict(
        hidden=8, heads=2, layers=2, continuous=4, relative_time_idx=False, unknown=2,
        targets=[("torch", None, 1)], encoder_lengths=[5, 0, 3, 0, 1],
        decoder_lengths=[4, 4, 2, 1, 3], encoder_min=2,
    ),
    # One variable in every selection network, so there is nothing to select.
    "one_of_each": dict(
        hidden=10, heads=4, continuous=10, static_categoricals=["kind"], own_past=False,
        targets=[("group", "sqrt", 3)], causal=False,
    ),
    # Nothing that only the past knows, one head, and count targets.
    "known_only": dict(
        hidden=6, heads=1, continuous=9, static_reals=["size"], known=3,
        known_categoricals=["weekday"], own_past=False, targets=[("group", "count", 7)],
    ),
    # Three targets with outputs of different width, losses and transformations.
    "multi_target": dict(
        hidden=16, heads=8, layers=2, continuous=7, static_categoricals=["kind"],
        static_reals=["size"], known=2, unknown=2, target_scales=True,
        targets=[("group", "softplus", 7), ("encoder", "log1p", 1), ("torch", "logit", 3)],
    ),
    # Two columns summed into one embedding bag, and rows without any history (one LSTM layer,
    # those rows first: the only order in which the library does not mix rows up).
    "embedding_bag": dict(
        hidden=8, heads=2, continuous=8, static_categoricals=["region"],
        known_categoricals=["tags"], variable_groups={"tags": ["tag_one", "tag_two"]},
        known=1, unknown=1, encoder_min=2,
        encoder_lengths=[0, 0, 4, 7], decoder_lengths=[5, 2, 5, 5],
        targets=[("encoder", None, 3)],
    ),
}


def save(folder, name, array):
    np.save(os.path.join(folder, name + ".npy"), array)


def make_fixture(name, case, seed):
    folder = os.path.join(HERE, "tft", name)
    shutil.rmtree(folder, ignore_errors=True)
    model, data, inputs = tft_models.make(case, seed)
    export(model, data, os.path.join(folder, "model"))
    for key, value in inputs.items():
        save(folder, key, value)
    predictions, errors = tft_models.answers(model, inputs)
    several = len(predictions) > 1
    outputs = {f"prediction_{i}" if several else "prediction": p
               for i, p in enumerate(predictions)}
    for key, value in outputs.items():
        save(folder, key, value)
    with open(os.path.join(folder, "error.json"), "w", encoding="utf-8") as file:
        json.dump(dict(zip(outputs, errors)), file)
        file.write("\n")
    scale = max(float(np.abs(p).max()) for p in predictions)
    print(f"{name}: {model.size():,} parameters, largest output {scale:.3g}, "
          f"library error {max(errors):.2g}")


def main():
    for seed, (name, case) in enumerate(CASES.items(), start=1):
        make_fixture(name, case, seed)


if __name__ == "__main__":
    main()
