#!/usr/bin/env python3
"""Make TFT fixtures with the real library: the committed ones, or new random ones.

Each fixture is a folder: model/ (what export.py writes), one .npy per forward input, the
library's float64 answer as prediction.npy (or prediction_0.npy, ...), and error.json with the
library's own float32 error. `tests/reference/run` compares Moondial with them and needs only numpy.

Needs the packages of tests/requirements.txt. Run it again only when the format changes:
    tests/reference/make_tft_fixtures.py
    tests/reference/make_tft_fixtures.py --random 4 --seed 7 --out DIR
"""

import argparse
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
    # No row has any history: the time axis of the encoder is 0 long.
    "no_history": dict(
        hidden=9, heads=3, layers=2, continuous=4, static_categoricals=["kind"], known=2,
        unknown_categoricals=["state"], encoder_length=True,
        encoder_lengths=[0, 0, 0], decoder_lengths=[3, 1, 4], targets=[("group", "softplus", 3)],
    ),
}


CATEGORICALS = {"static_categoricals": ["kind", "region"], "known_categoricals": ["weekday"],
                "unknown_categoricals": ["state"]}
# Targets that random models may have: the library takes log-like ones for positive values only.
TRANSFORMATIONS = [None, "softplus", "log", "log1p", "count", "relu", "sqrt", "logit"]


def random_targets(rng):
    return [
        (rng.choice(["group", "encoder", "torch"]), TRANSFORMATIONS[rng.integers(8)],
         int(rng.choice([1, 3, 5, 7])))
        for _ in range(rng.choice([1, 1, 1, 2, 3]))
    ]


def random_lengths(rng, case):
    """Lengths of a batch, 0 included where the library keeps its rows apart (see FORMAT.md)."""
    batch = int(rng.integers(1, 7))
    encoder = rng.integers(1, case["encoder"] + 1, batch)
    static = (case["static_categoricals"] or case["static_reals"] or case["encoder_length"]
              or case["target_scales"])
    if not static or (case["layers"] == 1 and rng.random() < 0.5):
        encoder[:rng.integers(0, batch)] = 0
    return encoder.tolist(), rng.integers(1, case["decoder"] + 1, batch).tolist()


def random_case(rng):
    """A case of arbitrary shape: any width, any set of variables, any targets."""
    heads = int(rng.choice([1, 2, 3, 4, 8]))
    case = dict(
        heads=heads, hidden=heads * int(rng.integers(1, 4)) + int(rng.integers(0, 4)),
        layers=int(rng.integers(1, 4)), continuous=int(rng.integers(1, 20)),
        encoder=int(rng.integers(3, 25)), decoder=int(rng.integers(1, 9)),
        known=int(rng.integers(0, 5)), unknown=int(rng.integers(0, 5)),
        static_reals=["size"] if rng.random() < 0.4 else [],
        shared=bool(rng.random() < 0.3), causal=bool(rng.random() < 0.7),
        own_past=bool(rng.random() < 0.7), relative_time_idx=bool(rng.random() < 0.6),
        encoder_length=bool(rng.random() < 0.3), targets=random_targets(rng),
    )
    for key, names in CATEGORICALS.items():
        case[key] = names[:rng.integers(0, len(names) + 1)]
    case["target_scales"] = bool(case["own_past"] and rng.random() < 0.4)
    case["continuous_sizes"] = {
        f"{role}_{index}": int(rng.integers(1, 20))
        for role in ("known", "unknown") for index in range(case[role]) if rng.random() < 0.3
    }
    if case["known"] + case["unknown"] + case["own_past"] == 0:
        case["unknown"] = 1
    case["encoder_lengths"], case["decoder_lengths"] = random_lengths(rng, case)
    return case


def save(folder, name, array):
    np.save(os.path.join(folder, name + ".npy"), array)


def make_fixture(out, name, case, seed):
    folder = os.path.join(out, name)
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, metavar="N", help="N new models instead")
    parser.add_argument("--seed", type=int, default=1, help="of the new models")
    parser.add_argument("--out", default=os.path.join(HERE, "tft"))
    arguments = parser.parse_args()
    if arguments.random is None:
        for seed, (name, case) in enumerate(CASES.items(), start=1):
            make_fixture(arguments.out, name, case, seed)
        return
    rng = np.random.default_rng(arguments.seed)
    for index in range(arguments.random):
        name = f"random_{arguments.seed}_{index}"
        make_fixture(arguments.out, name, random_case(rng), int(rng.integers(2**31)))


if __name__ == "__main__":
    main()
