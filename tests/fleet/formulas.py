"""The fleet's formulas once more, in numpy and from the compatibility notes, to hold the daemon's
answers against. Nothing here is shared with scripts/fleet: constants are repeated on purpose.
"""

import math
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reference"))
import tft_reference  # noqa: E402

METRICS = [
    "cpu_user_pct", "cpu_sys_pct", "cpu_iowait_pct", "cpu_idle_pct", "java_cpu_pct",
    "mem_used_pct", "swap_used_pct", "disk_usage_pct", "net_in_mb_s", "net_out_mb_s",
    "back_close_wait", "front_close_wait", "load_average", "uptime_days",
]
STATES = ["critical_issue", "healthy", "heavy_load", "idle", "maintenance", "morning_spike",
          "offline", "recovery"]
COUNTS = {"back_close_wait", "front_close_wait", "uptime_days"}
CEILINGS = {"net_in_mb_s": 200, "net_out_mb_s": 200, "load_average": 16, "uptime_days": 30}
STEPS, PAST, STEP_MIN = 96, 288, 5


def ceiling(metric, current):
    top = 100 if metric.endswith("_pct") else CEILINGS.get(metric, math.inf)
    return max(top, current)


def slope(values):
    """Least squares over positions; NaN is left out."""
    known = np.isfinite(values)
    if known.sum() < 2:
        return 0.0
    return np.polyfit(np.arange(len(values))[known], values[known], 1)[0]


def whole(values):
    return np.floor(values + 1e-3)


def trend(metric, history, alone):
    """{p10, p50, p90, current, trend} of one metric from its steps (NaN: nothing sent)."""
    recent = np.asarray(history, float)[-24:]
    known = recent[np.isfinite(recent)]
    current, rise = known[-1], slope(recent)
    if alone and len(known) > 5 and np.isfinite(recent[-5:]).sum() > 1:
        rise = 0.7 * rise + 0.3 * slope(recent[-5:])
    noise = known.std() if len(known) > 2 else (1.0 if alone else 2.0)
    i = np.arange(1, STEPS + 1)
    top = ceiling(metric, current)
    p50 = np.clip(current + rise * i, 0, top)
    if metric in COUNTS:
        p50 = whole(p50)
    width = (1.28 if alone else 1.0) * noise * np.sqrt(i)
    p10, p90 = np.maximum(0, p50 - width), p50 + width
    if metric not in COUNTS:
        p90 = np.minimum(p90, top)
    elif not alone:
        p90 = np.minimum(whole(p90), top)
    return {"p10": p10, "p50": p50, "p90": p90, "current": current, "trend": rise}


def step_points(value, steps):
    return next((points for limit, points in steps if value >= limit), 0)


def risk_score(server, database):
    """Of one entry of `predictions`."""
    def near(metric, quantile):
        return np.mean(server[metric][quantile][:6])

    if "cpu_idle_pct" in server:
        cpu = 100 - server["cpu_idle_pct"]["current"], 100 - near("cpu_idle_pct", "p10")
    else:
        cpu = server["cpu_user_pct"]["current"], near("cpu_user_pct", "p90")
    current = step_points(cpu[0], [(98, 60), (95, 40), (90, 25), (80, 15)])
    predicted = step_points(cpu[1], [(98, 40), (95, 25), (90, 15)])
    memory = [(98, 50), (95, 30), (90, 15), (85, 10)]
    tables = {
        "mem_used_pct": ([(99, 50), (98, 30), (95, 15)] if database else memory,
                         [(98, 30), (95, 20)]),
        "cpu_iowait_pct": ([(30, 40), (20, 25), (10, 15)], [(30, 25), (20, 15)]),
        "swap_used_pct": ([(50, 30), (25, 20), (10, 10)], []),
        "load_average": ([(12, 20), (8, 10)], []),
    }
    for metric, (now, soon) in tables.items():
        if metric in server:
            current += step_points(server[metric]["current"], now)
            predicted += step_points(near(metric, "p90"), soon)
    return min(100, max(0, 0.7 * current + 0.3 * predicted))


# The rules that watch forecasts: metric, severity, limit, limits of other profiles, steps ahead.
RULES = [
    ("cpu_user_pct", "critical", 95, {"ML Compute": 99}, 12),
    ("mem_used_pct", "critical", 98, {}, 12),
    ("mem_used_pct", "warning", 90, {"Database": 95}, 9),
    ("swap_used_pct", "critical", 40, {}, 12),
    ("swap_used_pct", "warning", 25, {}, 12),
    ("disk_usage_pct", "critical", 95, {}, 12),
    ("disk_usage_pct", "warning", 85, {}, 12),
]


def alerts(predictions):
    """{(server, metric): (severity, steps_ahead)}: the first step that reaches the limit of the
    most severe rule that holds."""
    found = {}
    for name, server in predictions.items():
        for metric, severity, limit, profiles, steps in RULES:
            values = server.get(metric, {}).get("p50", [])[:steps]
            limit = profiles.get(server["profile"], limit)
            step = next((i for i, value in enumerate(values) if value >= limit), None)
            if step is not None and (name, metric) not in found:
                found[name, metric] = (severity, step + 1)
    return found


HIGH = {"cpu_user_pct": (80, 90), "cpu_sys_pct": (50, 70), "cpu_iowait_pct": (20, 40),
        "mem_used_pct": (85, 95), "swap_used_pct": (10, 30), "disk_usage_pct": (80, 90),
        "java_cpu_pct": (70, 85)}


def server_probability(server, steps, critical_share, warning_share):
    total = 0
    for metric, (warning, critical) in HIGH.items():
        if metric in server:
            p50, p90 = (max(server[metric][q][:steps]) for q in ("p50", "p90"))
            if p50 > critical or p90 > critical + 5:
                total += critical_share
            elif p50 > warning or p90 > warning + 5:
                total += warning_share
    if "cpu_idle_pct" in server:
        lowest = min(server["cpu_idle_pct"]["p50"][:steps])
        total += critical_share if lowest < 10 else warning_share if lowest < 20 else 0
    return min(1, total)


def environment(predictions):
    near = [server_probability(s, 6, 0.25, 0.10) for s in predictions.values()]
    far = [server_probability(s, STEPS, 0.20, 0.08) for s in predictions.values()]
    prob = float(np.mean(near))
    return {"prob_30m": prob, "prob_8h": float(np.mean(far)),
            "high_risk_servers": sum(p > 0.5 for p in near), "total_servers": len(near),
            "fleet_health": "critical" if prob > 0.6 else "warning" if prob > 0.3 else "healthy"}


# ---- the model's forecast -----------------------------------------------------------------------


def inverse_softplus(y):
    return np.where(y > 20, y, y + np.log(-np.expm1(-np.minimum(y, 20) - 1.1920929e-7)))


def tft_quantiles(folder, names, profiles, metrics, states, calendar):
    """[servers, STEPS, quantiles] of the shipped model from histories of equal length.

    metrics [servers, past, 14], states [servers, past] labels, calendar [past + STEPS, 4] in the
    order hour, day_of_week, month, is_weekend.
    """
    model = tft_reference.Tft(folder)
    config = model.config
    reals = {real["name"]: real for real in config["dataset"]["reals"]}
    codes = {entry["name"]: entry["classes"] for entry in config["dataset"]["categoricals"]}
    clip = config["fleet"]["target_clip"]
    z = inverse_softplus(np.clip(metrics[:, :, 0], *clip))
    rows = {row["key"][0]: row for row in config["targets"][0]["normalizer"]["rows"]}
    scale = np.array([
        [rows[name]["center"], rows[name]["scale"]] if name in rows
        else [z[i].mean(), max(z[i].std(ddof=1),
                               config["fleet"]["target_scale"]["window"]["scale_min"])]
        for i, name in enumerate(names)])
    past = metrics.shape[1]
    servers, total = len(names), past + STEPS
    cont = np.zeros((servers, total, len(config["x_reals"])))
    for column, name in enumerate(config["x_reals"]):
        scaler = reals[name]["scaler"]
        if name == METRICS[0]:
            cont[:, :past, column] = (z - scale[:, :1]) / scale[:, 1:]
            continue
        if name in METRICS:
            values = np.zeros((servers, total))
            values[:, :past] = metrics[:, :, METRICS.index(name)]
        elif name == "relative_time_idx":
            values = np.broadcast_to(np.arange(-past, STEPS) / PAST, (servers, total))
        elif name == "encoder_length":
            values = np.full((servers, total), (past - PAST / 2) / PAST * 2)
        elif name.endswith(("_center", "_scale")):
            part = scale[:, [0 if name.endswith("_center") else 1]]
            values = np.broadcast_to(part, (servers, total))
        else:
            at = ["hour", "day_of_week", "month", "is_weekend"].index(name)
            values = np.broadcast_to(calendar[:, at], (servers, total))
        if scaler["kind"] == "standard":
            values = (values - scaler["mean"]) / scaler["scale"]
        cont[:, :, column] = values
    cat = np.zeros((servers, total, len(config["x_categoricals"])), int)
    for column, name in enumerate(config["x_categoricals"]):
        if name == "profile":
            cat[:, :, column] = [[codes[name].get(p, 0)] for p in profiles]
        else:
            cat[:, :past, column] = [[codes[name].get(s, 0) for s in row] for row in states]
    answer = model.run({
        "encoder_cont": cont[:, :past], "decoder_cont": cont[:, past:],
        "encoder_cat": cat[:, :past], "decoder_cat": cat[:, past:],
        "encoder_lengths": np.full(servers, past), "decoder_lengths": np.full(servers, STEPS),
        "target_scale": scale,
    })
    return answer["prediction"]
