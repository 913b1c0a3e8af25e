"""The simulated fleet as training windows for the TFT, and nothing about training itself.

A `Fleet` holds the history of many servers on one time grid, as arrays [server, step, metric]. A
window is (server, start): `Inputs.batch` cuts windows out of it and prepares them exactly as
FORMAT.md says a caller must ("Preparing the inputs"). That is also why pytorch-forecasting's own
dataset only lends us its metadata (`describe`): cutting windows from arrays is some hundred times
faster than its row-by-row sampling, and it keeps the rule for scaling a server in one place.

Two ways to scale a server's target, because a daemon meets servers it was not trained on:
    rows     center and scale of the server over the training days (the normaliser's row)
    window   center and scale of the window's own history; needs no row, fits any server
"""

import io
import os
import subprocess
import warnings

import numpy as np
import pandas as pd
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
SIMULATOR = os.path.join(HERE, "..", "simulator", "export.lua")

METRICS = [
    "cpu_user_pct", "cpu_sys_pct", "cpu_iowait_pct", "cpu_idle_pct", "java_cpu_pct",
    "mem_used_pct", "swap_used_pct", "disk_usage_pct", "net_in_mb_s", "net_out_mb_s",
    "back_close_wait", "front_close_wait", "load_average", "uptime_days",
]
TARGET = METRICS[0]
CALENDAR = ["hour", "day_of_week", "month", "is_weekend"]
PROFILES = [
    "conductor_mgmt", "data_ingest", "database", "generic", "ml_compute", "risk_analytics",
    "web_api",
]
STATES = [
    "critical_issue", "healthy", "heavy_load", "idle", "maintenance", "morning_spike", "offline",
    "recovery",
]

STEP_S = 300
ENCODER_MAX, ENCODER_MIN, DECODER = 288, 144, 96
DAY_STEPS = 24 * 3600 // STEP_S

# softplus⁻¹ runs to −∞ at 0, so an idle machine would dominate every statistic.
TARGET_CLIP = (0.1, 100.0)
# A machine whose load never moves would otherwise be scaled up to pure noise.
WINDOW_SCALE_MIN = 0.5


def simulate(seed, days, start, scenario="healthy", servers=20):
    """Simulator output as a table; raises with the simulator's own words when it fails."""
    command = [
        "luajit", SIMULATOR, "--servers", str(servers), "--days", str(days), "--step", str(STEP_S),
        "--seed", str(seed), "--start", start, "--scenario", scenario,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"simulator failed: {done.stderr.strip()}")
    return pd.read_csv(io.StringIO(done.stdout), parse_dates=["timestamp"])


def inverse_softplus(y):
    return np.where(y > 20, y, y + np.log(-np.expm1(-np.minimum(y, 20) - 1e-7)))


class Fleet:
    """History of a fleet on one grid; a missing step repeats the last known row."""

    def __init__(self, table, label):
        start = table["timestamp"].min()
        step = ((table["timestamp"] - start).dt.total_seconds() // STEP_S).astype(int).to_numpy()
        self.names = sorted(table["server_name"].unique())
        self.keys = [label.format(name) for name in self.names]
        server = table["server_name"].map({n: i for i, n in enumerate(self.names)}).to_numpy()
        self.steps = int(step.max()) + 1
        shape = (len(self.names), self.steps)
        filled = self.fill_index(server, step, shape)
        self.observed = np.zeros(shape, bool)
        self.observed[server, step] = True
        self.metrics = table[METRICS].to_numpy(np.float32)[filled]
        codes = {state: code for code, state in enumerate(STATES, start=1)}
        self.status = table["status"].map(codes).fillna(0).to_numpy(np.int64)[filled]
        codes = {profile: code for code, profile in enumerate(PROFILES, start=1)}
        self.profile = table["profile"].map(codes).fillna(0).to_numpy(np.int64)[filled][:, 0]
        times = pd.Series(pd.date_range(start, periods=self.steps, freq=f"{STEP_S}s"))
        self.calendar = np.stack(
            [times.dt.hour, times.dt.dayofweek, times.dt.month, times.dt.dayofweek >= 5], -1
        ).astype(np.float32)

    @staticmethod
    def fill_index(server, step, shape):
        """For each server and step the table row to use: its own, else the last one before it."""
        rows = np.full(shape, -1)
        rows[server, step] = np.arange(len(server))
        first = np.array([line[line >= 0][0] for line in rows])
        rows[:, 0] = np.where(rows[:, 0] >= 0, rows[:, 0], first)
        known = np.maximum.accumulate(np.where(rows >= 0, np.arange(shape[1]), 0), axis=1)
        return np.take_along_axis(rows, known, axis=1)


class History:
    """Several fleets laid end to end as one long list of servers of equal length."""

    def __init__(self, fleets):
        self.keys = [key for fleet in fleets for key in fleet.keys]
        self.steps = min(fleet.steps for fleet in fleets)

        def join(of):
            return np.concatenate([of(fleet) for fleet in fleets])

        self.metrics = join(lambda f: f.metrics[:, :self.steps])
        self.status = join(lambda f: f.status[:, :self.steps])
        self.observed = join(lambda f: f.observed[:, :self.steps])
        self.profile = join(lambda f: f.profile)
        self.calendar = join(
            lambda f: np.repeat(f.calendar[None, :self.steps], len(f.names), axis=0))
        self.metrics[:, :, 0] = np.clip(self.metrics[:, :, 0], *TARGET_CLIP)

    def servers(self):
        return len(self.keys)


def describe(history, train_steps):
    """A TimeSeriesDataSet with encoders, scalers and normaliser fitted on the training days."""
    from pytorch_forecasting import TimeSeriesDataSet
    from pytorch_forecasting.data import GroupNormalizer, NaNLabelEncoder
    from sklearn.preprocessing import StandardScaler

    def labels(values):
        return NaNLabelEncoder(add_nan=True).fit(pd.Series(values))

    encoders = {"server_id": labels(history.keys), "profile": labels(PROFILES),
                "status": labels(STATES)}
    past = history.metrics[:, :train_steps]
    codes = encoders["server_id"].transform(pd.Series(history.keys))
    normalizer = GroupNormalizer(groups=["server_id"], transformation="softplus")
    normalizer.fit(
        pd.Series(past[:, :, 0].reshape(-1).astype(np.float64)),
        pd.DataFrame({"server_id": np.repeat(codes, train_steps)}),
    )
    rows = normalizer.norm_.loc[codes]
    columns = {name: past[:, :, i + 1].reshape(-1) for i, name in enumerate(METRICS[1:])}
    columns |= {name: history.calendar[:, :train_steps, i].reshape(-1)
                for i, name in enumerate(CALENDAR)}
    columns |= {f"{TARGET}_{part}": rows[part].to_numpy() for part in ("center", "scale")}
    scalers = {name: StandardScaler().fit(pd.DataFrame({name: values}))
               for name, values in columns.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TimeSeriesDataSet(
            sample_table(history), time_idx="time_idx", target=TARGET, group_ids=["server_id"],
            min_encoder_length=ENCODER_MIN, max_encoder_length=ENCODER_MAX,
            min_prediction_length=1, max_prediction_length=DECODER,
            static_categoricals=["profile"], time_varying_unknown_categoricals=["status"],
            time_varying_known_reals=list(CALENDAR), time_varying_unknown_reals=list(METRICS),
            categorical_encoders=encoders, scalers=scalers, target_normalizer=normalizer,
            add_relative_time_idx=True, add_target_scales=True, add_encoder_length=True,
            allow_missing_timesteps=True,
        )


def sample_table(history):
    """A few hundred rows in the shape the library expects: enough to name the columns."""
    steps = ENCODER_MAX + DECODER
    table = pd.DataFrame(history.metrics[0, :steps].astype(np.float64), columns=METRICS)
    table[CALENDAR] = history.calendar[0, :steps].astype(np.float64)
    table["time_idx"], table["server_id"] = np.arange(steps), history.keys[0]
    table["profile"] = PROFILES[history.profile[0] - 1]
    table["status"] = [STATES[code - 1] for code in history.status[0, :steps]]
    return table


class Inputs:
    """Windows of a history as the model's inputs, from the same facts that config.json holds."""

    def __init__(self, config):
        self.config = config
        self.reals = config["x_reals"]
        self.scalers = {real["name"]: real["scaler"] for real in config["dataset"]["reals"]}
        normalizer = config["targets"][0]["normalizer"]
        self.rows = {row["key"][0]: (row["center"], row["scale"]) for row in normalizer["rows"]}
        self.missing = (normalizer["missing"]["center"], normalizer["missing"]["scale"])

    def target_scale(self, history, server, z_past, mode):
        """[B, 2] center and scale in softplus⁻¹ space; `mode` true where the row is used."""
        spread = np.maximum(z_past.std(1, ddof=1), WINDOW_SCALE_MIN)
        window = np.stack([z_past.mean(1), spread], -1)
        rows = np.array([self.rows.get(history.keys[s], self.missing) for s in server])
        return np.where(mode[:, None], rows, window)

    def scaled(self, name, values):
        scaler = self.scalers[name]
        return (values - scaler["mean"]) / scaler["scale"]

    def continuous(self, metrics, z, scale, calendar, past):
        batch, steps = z.shape
        columns = {name: metrics[:, :, i] for i, name in enumerate(METRICS)}
        columns |= {name: calendar[:, :, i] for i, name in enumerate(CALENDAR)}
        columns |= {f"{TARGET}_center": scale[:, :1], f"{TARGET}_scale": scale[:, 1:]}
        out = np.empty((batch, steps, len(self.reals)), np.float32)
        for index, name in enumerate(self.reals):
            if name == TARGET:
                value = (z - scale[:, :1]) / scale[:, 1:]
            elif name == "relative_time_idx":
                value = np.arange(-past, steps - past) / ENCODER_MAX
            elif name == "encoder_length":
                value = (past - ENCODER_MAX / 2) / ENCODER_MAX * 2
            else:
                value = self.scaled(name, columns[name])
            out[:, :, index] = value
        return out

    def batch(self, history, server, start, past=ENCODER_MAX, rows=True, change=None):
        """(inputs, y, weight) of windows that begin at `start`; y and weight are [B, DECODER].

        `rows` (bool or one per window) picks the scaling; `change(metrics, profile, status)` may
        alter the raw window before it is prepared (augmentation).
        """
        steps = start[:, None] + np.arange(past + DECODER)
        at = (server[:, None], steps)
        metrics, status = history.metrics[at].copy(), history.status[at].copy()
        profile = history.profile[server].copy()
        if change:
            change(metrics, profile, status)
        z = inverse_softplus(metrics[:, :, 0].astype(np.float64))
        rows = np.broadcast_to(np.asarray(rows), server.shape)
        scale = self.target_scale(history, server, z[:, :past], rows)
        cont = torch.from_numpy(self.continuous(metrics, z, scale, history.calendar[at], past))
        profile = np.repeat(profile[:, None], past + DECODER, axis=1)
        cat = torch.from_numpy(np.stack([profile, status], -1))
        count = len(server)
        inputs = {
            "encoder_cat": cat[:, :past], "encoder_cont": cont[:, :past],
            "decoder_cat": cat[:, past:], "decoder_cont": cont[:, past:],
            "encoder_lengths": torch.full((count,), past),
            "decoder_lengths": torch.full((count,), DECODER),
            "target_scale": torch.from_numpy(scale.astype(np.float32)),
        }
        y = torch.from_numpy(metrics[:, past:, 0].copy())
        weight = torch.from_numpy(history.observed[at][:, past:].astype(np.float32))
        return inputs, y, weight
