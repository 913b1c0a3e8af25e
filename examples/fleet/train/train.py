#!/usr/bin/env python3
"""Train the fleet's forecasting model on simulated servers, and export it.

    train.py                     about 40 minutes on 2 cores, writes scripts/fleet/models/tft
    train.py --quick --out DIR   a minute: shows that everything runs, the model is poor
    train.py --minutes 90 --init scripts/fleet/models/tft     carry on from an exported folder

The model is the digest's: TFT of hidden size 32, 8 heads, 288 steps of history, 96 steps ahead,
7 quantiles of cpu_user_pct. It learns from several simulated fleets and is judged on days it has
not seen, and on whole fleets it has not seen. The learning rate follows the clock and not a step
count, so a slow or shared machine gives a less trained model but a finished one. Every few minutes
a moving average of the weights is scored on validation days; the best one so far is exported, so
stopping early loses little.

A third of the windows are altered on the way in (`Augment`): quieter machines, missing Java, other
networks, unknown profile or status. The daemon meets such servers (the machine it runs on is one),
and the simulator makes none.
"""

import argparse
import copy
import json
import os
import sys
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a shared machine has better things to do

import numpy as np  # noqa: E402
import torch  # noqa: E402

import card  # noqa: E402
import fast  # noqa: E402
import fleet_data as data  # noqa: E402
from export import build_config, export  # noqa: E402

QUANTILES = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]
MEDIAN = QUANTILES.index(0.5)
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.normpath(os.path.join(HERE, "..", "..", "..", "scripts", "fleet", "models", "tft"))

# (seed, scenario); fleet k starts in month k, so that no month means one fleet's habits only.
# Seed 1 is the simulator's default: its servers' normaliser rows keep their plain names.
FLEETS = [
    (1, "healthy"), (2, "healthy"), (3, "degrading"), (4, "healthy"), (5, "healthy"),
    (6, "cascade"), (7, "healthy"), (8, "degrading"), (9, "healthy"), (10, "critical"),
    (11, "healthy"), (12, "degrading"),
]
UNSEEN = [(101, "healthy"), (102, "degrading")]

# Days of each fleet: to learn from, to choose the checkpoint by, to report.
DAYS = (18, 3, 4)

BATCH = 48
RATE = 3e-3
AVERAGE = 0.997
BUCKETS = [("up to 1 h", 0, 12), ("1 to 3 h", 12, 36), ("3 to 8 h", 36, 96)]


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


# ---- data ---------------------------------------------------------------------------------------


def load(fleets, days, offset=0):
    """The named fleets as one history; fleets other than seed 1 get keys of their own."""
    made = []
    for index, (seed, scenario) in enumerate(fleets):
        start = f"2026-{(index + offset) % 12 + 1:02d}-05"
        label = "{}" if seed == 1 else "{}#" + str(seed)
        made.append(data.Fleet(data.simulate(seed, days, start, scenario), label))
    return data.History(made)


class Augment:
    """Changes to raw training windows that make the model meet servers the simulator lacks."""

    def __init__(self, rng):
        self.rng = rng

    def quieter(self, metrics):
        """Less cpu everywhere in the window; what is not used is idle."""
        share = self.rng.uniform(0.03, 1.0)
        names = ("cpu_user_pct", "cpu_sys_pct", "java_cpu_pct", "load_average")
        before = metrics[:, 0] + metrics[:, 1]
        for name in names:
            metrics[:, data.METRICS.index(name)] *= share
        metrics[:, 0] = np.clip(metrics[:, 0], *data.TARGET_CLIP)
        metrics[:, data.METRICS.index("cpu_idle_pct")] += before - metrics[:, 0] - metrics[:, 1]

    def foreign(self, metrics):
        """No Java, no close-waits, another network and disk, other memory."""
        if self.rng.random() < 0.7:
            for name in ("java_cpu_pct", "back_close_wait", "front_close_wait"):
                metrics[:, data.METRICS.index(name)] = 0
        for name in ("net_in_mb_s", "net_out_mb_s", "swap_used_pct", "disk_usage_pct",
                     "mem_used_pct"):
            metrics[:, data.METRICS.index(name)] *= self.rng.uniform(0.02, 1.0)

    def __call__(self, metrics, profile, status):
        for row in range(len(metrics)):
            if self.rng.random() < 0.2:
                self.quieter(metrics[row])
            if self.rng.random() < 0.2:
                self.foreign(metrics[row])
            if self.rng.random() < 0.1:
                profile[row] = 0
            if self.rng.random() < 0.05:
                status[row] = 0


def draw(history, rng, first, last, past):
    """Random (server, start) with the forecast inside [first, last) and its history before it."""
    server = rng.integers(0, history.servers(), BATCH)
    begin = max(first, past)
    return server, rng.integers(begin - past, last - data.DECODER - past + 1, BATCH)


def grid(history, first, last, stride):
    """Every server, forecasts starting each `stride` steps inside [first, last)."""
    starts = np.arange(max(first, data.ENCODER_MAX), last - data.DECODER + 1, stride)
    server = np.repeat(np.arange(history.servers()), len(starts))
    return server, np.tile(starts - data.ENCODER_MAX, history.servers())


# ---- model --------------------------------------------------------------------------------------


def new_model(dataset):
    """The digest's model; without dropout, because simulated data does not run out."""
    from pytorch_forecasting import TemporalFusionTransformer
    from pytorch_forecasting.metrics import QuantileLoss

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TemporalFusionTransformer.from_dataset(
            dataset, hidden_size=32, attention_head_size=8, lstm_layers=1,
            hidden_continuous_size=16, dropout=0.0, output_size=len(QUANTILES),
            loss=QuantileLoss(QUANTILES),
        )


def pinball(prediction, y):
    """Quantile loss per element, [B, steps, quantiles]; twice the usual factor is not applied."""
    error = y.unsqueeze(-1) - prediction
    q = prediction.new_tensor(QUANTILES)
    return torch.maximum(q * error, (q - 1) * error)


# ---- judging ------------------------------------------------------------------------------------


def forecast(model, inputs):
    model.eval()
    with torch.no_grad():
        return model(inputs)["prediction"]


class Score:
    """Sums of absolute error and quantile loss by forecaster and horizon bucket."""

    def __init__(self):
        self.sums = {}
        self.below, self.count = torch.zeros(len(QUANTILES)), 0.0

    def add(self, name, prediction, y, weight):
        loss = pinball(prediction, y).mean(-1) * weight
        error = (prediction[:, :, MEDIAN] - y).abs() * weight
        for bucket, low, high in BUCKETS + [("all", 0, data.DECODER)]:
            entry = self.sums.setdefault((name, bucket), [0.0, 0.0, 0.0])
            entry[0] += float(error[:, low:high].sum())
            entry[1] += float(loss[:, low:high].sum())
            entry[2] += float(weight[:, low:high].sum())
        if name == "tft":
            self.below += ((y.unsqueeze(-1) <= prediction) * weight.unsqueeze(-1)).sum((0, 1))
            self.count += float(weight.sum())

    def report(self):
        out = {}
        for (name, bucket), (error, loss, count) in self.sums.items():
            out.setdefault(bucket, {})[name] = {
                "mae": round(error / count, 3), "quantile_loss": round(loss / count, 3)}
        coverage = (self.below / self.count).tolist()
        return {"by_horizon": out,
                "share_below": {str(q): round(c, 3) for q, c in zip(QUANTILES, coverage)}}


def judge(model, inputs, history, windows, rows, baselines=False):
    """Score of the model, and of last-value and same-time-yesterday, on the given windows."""
    score = Score()
    server, start = windows
    for low in range(0, len(server), 100):
        part = slice(low, low + 100)
        x, y, weight = inputs.batch(history, server[part], start[part], rows=rows)
        score.add("tft", forecast(model, x), y, weight)
        if not baselines:
            continue
        past = torch.from_numpy(np.stack([
            history.metrics[s, t:t + data.ENCODER_MAX, 0]
            for s, t in zip(server[part], start[part])]))
        width = (1, 1, len(QUANTILES))
        last = past[:, -1:].expand(-1, data.DECODER).unsqueeze(-1).repeat(width)
        score.add("last_value", last, y, weight)
        yesterday = past[:, :data.DECODER].unsqueeze(-1).repeat(width)
        score.add("same_time_yesterday", yesterday, y, weight)
    return score.report()


def total(report, name="tft"):
    return report["by_horizon"]["all"][name]


# ---- training -----------------------------------------------------------------------------------


class Trainer:
    def __init__(self, model, inputs, history, arguments):
        self.model, self.inputs, self.history = model, inputs, history
        self.average = fast.speed_up(copy.deepcopy(model))
        fast.speed_up(model)
        self.rng = np.random.default_rng(arguments.seed)
        self.augment = Augment(np.random.default_rng(arguments.seed + 1))
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-3)
        self.begin, self.budget_s = time.time(), arguments.minutes * 60
        self.rate = RATE * arguments.rate
        self.step_count, self.loss = 0, None

    def progress(self):
        return (time.time() - self.begin) / self.budget_s

    def set_rate(self):
        warm = min(1.0, (self.step_count + 1) / 100)
        fall = 0.5 * (1 + np.cos(np.pi * min(1.0, self.progress())))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * warm * max(0.01, fall)

    def step(self):
        past = data.ENCODER_MAX
        if self.rng.random() < 0.5:
            past = int(self.rng.integers(data.ENCODER_MIN, data.ENCODER_MAX + 1))
        last = DAYS[0] * data.DAY_STEPS
        server, start = draw(self.history, self.rng, 0, last, past)
        rows = self.rng.random(BATCH) < 0.4
        change = self.augment if self.rng.random() < 0.8 else None
        x, y, weight = self.inputs.batch(self.history, server, start, past, rows, change)
        self.set_rate()
        self.model.train()
        loss = (pinball(self.model(x)["prediction"], y).mean(-1) * weight).sum() / weight.sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.follow()
        self.step_count += 1
        value = float(loss.detach())
        self.loss = value if self.loss is None else 0.98 * self.loss + 0.02 * value

    def follow(self):
        """Move the averaged weights towards the current ones; quickly at first."""
        keep = min(AVERAGE, (1 + self.step_count) / (10 + self.step_count))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.model.parameters()):
                slow.lerp_(fast, 1 - keep)


def train(trainer, dataset, windows, extra, arguments):
    """Runs until the time is up; exports whenever the averaged weights score better."""
    best, next_check = None, arguments.check_minutes * 60
    while trainer.progress() < 1:
        trainer.step()
        elapsed = time.time() - trainer.begin
        if trainer.step_count % 25 == 0:
            say(f"step {trainer.step_count}, {100 * trainer.progress():.0f} % of the time, "
                f"training loss {trainer.loss:.3f}")
        if elapsed < next_check and trainer.progress() < 1:
            continue
        next_check = elapsed + arguments.check_minutes * 60
        score = total(judge(trainer.average, trainer.inputs, trainer.history, windows, False))
        better = best is None or score["quantile_loss"] < best
        say(f"validation: median off by {score['mae']:.2f} points, quantile loss "
            f"{score['quantile_loss']:.3f}{', best so far, exported' if better else ''}")
        if better:
            best = score["quantile_loss"]
            write(trainer.average, dataset, arguments.out, extra)


def write(model, dataset, out, extra):
    """Export; rows of fleets other than the simulator's default one stay out of the file."""
    config = export(model, dataset, out, extra)
    normalizer = config["targets"][0]["normalizer"]
    normalizer["rows"] = [row for row in normalizer["rows"] if "#" not in row["key"][0]]
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def fleet_facts():
    """What the daemon must know beyond the library's own facts; the card explains each."""
    return {"fleet": {
        "step_s": data.STEP_S,
        "target_clip": list(data.TARGET_CLIP),
        "target_scale": {"known": "rows", "unknown": "window",
                         "window": {"steps_max": data.ENCODER_MAX, "steps_min": data.ENCODER_MIN,
                                    "scale_min": data.WINDOW_SCALE_MIN}},
        "calendar": {"hour": "0-23, whole", "day_of_week": "Monday 0", "month": "1-12",
                     "is_weekend": "0 or 1"},
        "gaps": "repeat the last known row",
    }}


def restore(model, folder):
    from safetensors.torch import load_file

    _, unexpected = model.load_state_dict(
        load_file(os.path.join(folder, "model.safetensors")), strict=False)
    if unexpected:
        raise SystemExit(f"train.py: {folder} holds another model: {unexpected[:3]}")


def final_report(model, inputs, history, unseen, stride):
    first = (DAYS[0] + DAYS[1]) * data.DAY_STEPS
    held = grid(history, first, history.steps, stride)
    other = grid(unseen, 2 * data.DAY_STEPS, unseen.steps, stride)
    return {
        "held_out_days": judge(model, inputs, history, held, True, baselines=True),
        "held_out_days_window_scale": judge(model, inputs, history, held, False),
        "unseen_fleets": judge(model, inputs, unseen, other, False, baselines=True),
        "windows": {"held_out_days": len(held[0]), "unseen_fleets": len(other[0])},
    }


def arguments_of(words):
    parser = argparse.ArgumentParser(description="Train and export the fleet's TFT.")
    parser.add_argument("--out", default=OUT, help="folder to export into")
    parser.add_argument("--minutes", type=float, default=40, help="training time")
    parser.add_argument("--check-minutes", type=float, default=3, help="time between validations")
    parser.add_argument("--init", help="exported folder to start from")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a minute on two fleets, to try it")
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.minutes, arguments.check_minutes = 1, 0.5
    return arguments


def main():
    arguments = arguments_of(sys.argv[1:])
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    fleets = FLEETS[:2] if arguments.quick else FLEETS
    say(f"simulating {len(fleets)} fleets of 20 servers, {sum(DAYS)} days each")
    history = load(fleets, sum(DAYS))
    unseen = load(UNSEEN[:1] if arguments.quick else UNSEEN, 8, offset=6)
    dataset = data.describe(history, DAYS[0] * data.DAY_STEPS)
    model = new_model(dataset)
    if arguments.init:
        restore(model, arguments.init)
    extra = fleet_facts()
    inputs = data.Inputs(build_config(model, dataset))
    few = inputs.batch(history, np.arange(4), np.arange(4))[0]
    say(f"fast and library forward passes differ by {fast.check(model, few):.1g}")
    say(f"training {model.size():,} parameters for {arguments.minutes:g} minutes")
    first = DAYS[0] * data.DAY_STEPS
    windows = grid(history, first, first + DAYS[1] * data.DAY_STEPS,
                   stride=301 if not arguments.quick else 400)
    trainer = Trainer(model, inputs, history, arguments)
    train(trainer, dataset, windows, extra, arguments)
    best = new_model(dataset)
    restore(best, arguments.out)
    say("scoring the best weights on held-out days and unseen fleets")
    report = final_report(fast.speed_up(best), inputs, history, unseen,
                          stride=400 if arguments.quick else 97)
    began = " from an earlier export" if arguments.init else ""
    report["training"] = {
        "parameters": model.size(), "fleets": len(fleets), "days": DAYS,
        "steps": trainer.step_count, "batch": BATCH,
        "in_words": f"AdamW, {trainer.step_count} steps of {BATCH} windows in "
                    f"{arguments.minutes:g} minutes on {arguments.threads} CPU cores{began}, "
                    "cosine learning rate, moving average of the weights.",
    }
    card.write(arguments.out, report)
    say(card.in_words(report))


if __name__ == "__main__":
    main()
