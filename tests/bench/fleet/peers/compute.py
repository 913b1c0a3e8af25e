"""What both Python peers of the fleet daemon compute alike, vectorised in NumPy: what the model
reads, trends, scores, and the answer of /predictions/current.

The model forecasts the servers whose whole window is there, trends the others. Numbers and formulas
are those of tests/fleet/formulas.py, which tests hold the daemon's answers against as well. Arrays
are [servers, metrics, steps] unless said otherwise.
"""

import datetime
import os
import sys

import numpy as np
import orjson

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "fleet"))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tft"))
from formulas import (CEILINGS, COUNTS, HIGH, METRICS, PAST, RULES, STATES,  # noqa: E402
                      STEP_MIN, STEPS, inverse_softplus)

STEP_MS = STEP_MIN * 60 * 1000
NEAR, RECENT = 6, 24
AT = {metric: index for index, metric in enumerate(METRICS)}
PREFIXES = {
    "ml_compute": "ppml ppgpu cptrain ml-node-",
    "database": "ppdb psdb oracle mongo postgres mysql",
    "web_api": "ppweb ppapi nginx tomcat api-server-",
    "conductor_mgmt": "ppcon conductor egomgmt maestro",
    "data_ingest": "ppetl ppkafka stream spark flink",
    "risk_analytics": "pprisk varrisk credit quant",
}
LABELS = {"ml_compute": "ML Compute", "database": "Database", "web_api": "Web API",
          "conductor_mgmt": "Conductor Mgmt", "data_ingest": "ETL/Ingest",
          "risk_analytics": "Risk Analytics", "generic": "Generic"}


def profile_of(name, reported=None):
    if reported in LABELS:
        return reported
    for profile, prefixes in PREFIXES.items():
        for prefix in prefixes.split():
            if name.lower().startswith(prefix) and name[len(prefix):len(prefix) + 1].isdigit():
                return profile
    return "generic"


# ---- what the model reads -----------------------------------------------------------------------


class Features:
    """By the model's config: columns of `encoder_cont` in the order of x_reals."""

    def __init__(self, config):
        self.column = {name: at for at, name in enumerate(config["x_reals"])}
        self.width = len(self.column)
        scalers = [real["scaler"] for real in config["dataset"]["reals"]]
        self.mean = np.array([s.get("mean", 0) for s in scalers], np.float32)
        self.scale = np.array([s.get("scale", 1) for s in scalers], np.float32)
        self.metrics = [self.column[name] for name in METRICS]
        self.calendar = [self.column[n] for n in ("hour", "day_of_week", "month", "is_weekend")]
        self.codes = {c["name"]: c["classes"] for c in config["dataset"]["categoricals"]}
        self.status = {state: self.codes["status"].get(state, 0) for state in STATES}
        rows = config["targets"][0]["normalizer"]["rows"]
        self.known = {row["key"][0]: (row["center"], row["scale"]) for row in rows}
        self.clip = config["fleet"]["target_clip"]
        self.scale_min = config["fleet"]["target_scale"]["window"]["scale_min"]
        quantiles = config["targets"][0]["quantiles"]
        self.shown = [quantiles.index(q) for q in (0.1, 0.5, 0.9)]

    def scaled(self, values, columns):
        return (values - self.mean[columns]) / self.scale[columns]

    def target(self, values):
        """What the normaliser makes of the target before it is centred."""
        return inverse_softplus(np.clip(values, *self.clip)).astype(np.float32)

    def times(self, first_ms, count):
        """[count, 4], scaled, in the order of self.calendar."""
        start = datetime.datetime.fromtimestamp(first_ms / 1000, datetime.timezone.utc)
        step = datetime.timedelta(milliseconds=STEP_MS)
        rows = [(t.hour, t.weekday(), t.month, t.weekday() >= 5)
                for t in (start + i * step for i in range(count))]
        return self.scaled(np.array(rows, np.float32), self.calendar)

    def target_scales(self, names, z):
        scales = np.empty((len(names), 2), np.float32)
        for i, name in enumerate(names):
            scales[i] = self.known.get(name) or \
                (z[i].mean(), max(z[i].std(ddof=1), self.scale_min))
        return scales

    def inputs(self, cont, z, names, states, profiles, end_ms):
        """Fills what is left of cont [servers, PAST, width], which has metrics and calendar: all
        that depends on the place in the window or on the target's scale z [servers, PAST]."""
        servers, column = len(names), self.column
        scales = self.target_scales(names, z)
        ahead = np.zeros((servers, STEPS, self.width), np.float32)
        for part, name in enumerate(("cpu_user_pct_center", "cpu_user_pct_scale")):
            at = column[name]
            cont[:, :, at] = self.scaled(scales[:, part:part + 1], at)
            ahead[:, :, at] = cont[:, :1, at]
        places = np.arange(-PAST, STEPS, dtype=np.float32) / PAST
        for name, whole in (("relative_time_idx", places),
                            ("encoder_length", np.ones(PAST + STEPS, np.float32))):
            at = column[name]
            cont[:, :, at] = self.scaled(whole[:PAST], at)
            ahead[:, :, at] = self.scaled(whole[PAST:], at)
        cont[:, :, column[METRICS[0]]] = (z - scales[:, :1]) / scales[:, 1:]
        ahead[:, :, self.calendar] = self.times(end_ms, STEPS)
        cat = np.zeros((servers, PAST, 2), np.int64)
        cat_ahead = np.zeros((servers, STEPS, 2), np.int64)
        cat[:, :, 0] = cat_ahead[:, :, 0] = np.array(profiles)[:, None]
        cat[:, :, 1] = states
        return {"encoder_cont": cont, "encoder_cat": cat, "decoder_cont": ahead,
                "decoder_cat": cat_ahead, "target_scale": scales,
                "encoder_lengths": np.full(servers, PAST),
                "decoder_lengths": np.full(servers, STEPS)}


# ---- trends -------------------------------------------------------------------------------------


CEILING = np.array([100 if m.endswith("_pct") else CEILINGS.get(m, np.inf) for m in METRICS],
                   np.float32)
WHOLE = [AT[metric] for metric in METRICS if metric in COUNTS]
AHEAD = np.arange(1, STEPS + 1, dtype=np.float32)


def slopes(recent):
    """Least squares over steps of [servers, steps, metrics]."""
    places = np.arange(recent.shape[1]) - (recent.shape[1] - 1) / 2
    squares = (places ** 2).sum()
    return np.einsum("smk,s->mk", recent.swapaxes(0, 1), places) / squares if squares else \
        np.zeros((recent.shape[0], recent.shape[2]))


def trends(recent, alone):
    """What the last steps [servers, steps, metrics] say of the next: of every metric of a server
    without a model (`alone`), or of those that the model does not forecast."""
    recent = recent.astype(np.float64)
    slope, current, seen = slopes(recent), recent[:, -1], recent.shape[1]
    if alone and seen > 5:
        slope = 0.7 * slope + 0.3 * slopes(recent[:, -5:])
    noise = recent.std(axis=1) if seen > 2 else np.full_like(current, 1.0 if alone else 2.0)
    now = current.astype(np.float32)[:, :, None]
    top = np.maximum(CEILING[:, None], now)
    p50 = slope.astype(np.float32)[:, :, None] * AHEAD
    p50 += now
    np.clip(p50, 0, top, out=p50)
    p50[:, WHOLE] = np.floor(p50[:, WHOLE] + np.float32(1e-3))
    width = (noise * (1.28 if alone else 1.0)).astype(np.float32)[:, :, None] * np.sqrt(AHEAD)
    p10, p90 = np.maximum(p50 - width, 0), p50 + width
    if alone:
        top[:, WHOLE] = np.inf
    else:
        p90[:, WHOLE] = np.floor(p90[:, WHOLE] + np.float32(1e-3))
    np.minimum(p90, top, out=p90)
    return {"current": current, "trend": slope, "p10": p10, "p50": p50, "p90": p90}


def take_over(found, prediction, features):
    """The model's quantiles [servers, steps, quantiles] in place of the target's trend."""
    for field, at in zip(("p10", "p50", "p90"), features.shown):
        found[field][:, 0] = np.clip(prediction[:, :, at], 0, 100)
    found["trend"][:, 0] = (found["p50"][:, 0, -1] - found["current"][:, 0]) / STEPS


# ---- scores -------------------------------------------------------------------------------------


# Limits from below, and the points of each.
CPU = ([80, 90, 95, 98], [15, 25, 40, 60]), ([90, 95, 98], [15, 25, 40])
MEMORY = ([85, 90, 95, 98], [10, 15, 30, 50]), ([95, 98], [20, 30])
DATABASE_MEMORY = [95, 98, 99], [15, 30, 50]
IOWAIT = ([10, 20, 30], [15, 25, 40]), ([20, 30], [15, 25])
SWAP, LOAD = ([10, 25, 50], [10, 20, 30]), ([8, 12], [10, 20])


def points(values, table):
    limits, given = table
    return np.array([0, *given])[np.searchsorted(limits, values, side="right")]


def risk_scores(found, near, databases):
    idle = AT["cpu_idle_pct"]
    now, soon = found["current"], near["p90"]
    memory, iowait = AT["mem_used_pct"], AT["cpu_iowait_pct"]
    current = points(100 - now[:, idle], CPU[0]) + points(now[:, iowait], IOWAIT[0]) \
        + np.where(databases, points(now[:, memory], DATABASE_MEMORY),
                   points(now[:, memory], MEMORY[0])) \
        + points(now[:, AT["swap_used_pct"]], SWAP) + points(now[:, AT["load_average"]], LOAD)
    predicted = points(100 - near["p10"][:, idle], CPU[1]) + points(soon[:, memory], MEMORY[1]) \
        + points(soon[:, iowait], IOWAIT[1])
    return np.clip(0.7 * current + 0.3 * predicted, 0, 100)


def probabilities(found, steps, critical_share, warning_share):
    p50, p90 = found["p50"][:, :, :steps].max(axis=2), found["p90"][:, :, :steps].max(axis=2)
    total = np.zeros(len(p50))
    for metric, (warning, critical) in HIGH.items():
        high, pessimist = p50[:, AT[metric]], p90[:, AT[metric]] - 5
        total += np.where((high > critical) | (pessimist > critical), critical_share,
                          np.where((high > warning) | (pessimist > warning), warning_share, 0))
    idle = found["p50"][:, AT["cpu_idle_pct"], :steps].min(axis=1)
    total += np.where(idle < 10, critical_share, np.where(idle < 20, warning_share, 0))
    return np.minimum(1, total)


def environment(found):
    near, far = probabilities(found, NEAR, 0.25, 0.10), probabilities(found, STEPS, 0.20, 0.08)
    soon, late = float(near.mean()), float(far.mean())
    return {"prob_30m": soon, "prob_8h": late, "incident_probability_30m": soon,
            "incident_probability_8h": late, "high_risk_servers": int((near > 0.5).sum()),
            "total_servers": len(near),
            "fleet_health": "critical" if soon > 0.6 else "warning" if soon > 0.3 else "healthy"}


def alerts(found, names, profiles):
    """The first step that reaches the limit of the most severe rule of a metric that holds."""
    entries, seen = [], set()
    for metric, severity, limit, others, steps in RULES:
        limits = np.array([others.get(LABELS[profile], limit) for profile in profiles])
        reached = found["p50"][:, AT[metric], :steps] >= limits[:, None]
        for server in np.flatnonzero(reached.any(axis=1)):
            if (server, metric) in seen:
                continue
            seen.add((server, metric))
            step = int(reached[server].argmax())
            value = float(found["p50"][server, AT[metric], step])
            entries.append({
                "server": names[server], "metric": metric, "severity": severity,
                "predicted_value": round(value, 4), "threshold": float(limits[server]),
                "steps_ahead": step + 1, "minutes_ahead": STEP_MIN * (step + 1),
                "message": f"{names[server]}: {metric} predicted to reach {value:.1f}"})
    entries.sort(key=lambda alert: (alert["severity"] != "critical", alert["minutes_ahead"]))
    return entries


SHOWN = [("cpu", None, "%"), ("memory", "mem_used_pct", "%"), ("iowait", "cpu_iowait_pct", "%"),
         ("swap", "swap_used_pct", "%"), ("load", "load_average", ""),
         ("disk", "disk_usage_pct", "%"), ("net_in", "net_in_mb_s", "MB/s"),
         ("net_out", "net_out_mb_s", "MB/s")]


def round1(values):
    return np.floor(values * 10 + 0.5) / 10


def displayed(found, near):
    """For each server {name: {current, predicted, delta, unit, trend}}."""
    idle = AT["cpu_idle_pct"]
    picks = [AT[metric] if metric else idle for _, metric, _ in SHOWN]
    now = found["current"][:, picks]
    soon = near["p50"][:, picks].astype(np.float64)
    now[:, 0], soon[:, 0] = 100 - now[:, 0], 100 - soon[:, 0]
    ways = np.sign(soon - now).astype(int).tolist()
    figures = zip(round1(now).tolist(), round1(soon).tolist(), round1(soon - now).tolist(), ways)
    words = ("stable", "increasing", "decreasing")  # by sign: 0, 1, -1
    return [{name: {"current": a, "predicted": b, "delta": c, "unit": unit, "trend": words[way]}
             for (name, _, unit), a, b, c, way in zip(SHOWN, *row)} for row in figures]


LEVELS = [("healthy", "#44ff44", "🟢", "Healthy"), ("watch", "#ffcc00", "🟡", "Watch"),
          ("warning", "#ff9900", "🟠", "Warning"), ("critical", "#ff4444", "🔴", "Critical")]


def summary(names, scores, levels, made_at):
    count = np.bincount(levels, minlength=4).tolist()
    ranked = [names[i] for i in np.argsort(-scores, kind="stable")[:20]]
    return {"total_servers": len(names), "critical_count": count[3], "warning_count": count[2],
            "degrading_count": count[1], "healthy_count": count[0],
            "avg_risk_score": float(round1(scores.mean())),
            "max_risk_score": float(round1(scores.max())), "top_5_risks": ranked[:5],
            "top_10_risks": ranked[:10], "top_20_risks": ranked,
            "risk_calculation_time": made_at}


# ---- the answer ---------------------------------------------------------------------------------


def judged(found, names, profiles):
    """Risk, environment, alerts and display figures of a forecast."""
    near = {field: found[field][:, :, :NEAR].mean(axis=2) for field in ("p10", "p50", "p90")}
    databases = np.array([profile == "database" for profile in profiles])
    scores = risk_scores(found, near, databases)
    return {"scores": scores, "levels": np.searchsorted([20, 40, 70], scores, side="right"),
            "environment": environment(found), "alerts": alerts(found, names, profiles),
            "display": displayed(found, near)}


def entries(found, judgement, profiles, models):
    """One entry of `predictions` a server. orjson prints rows of arrays where they lie, which is
    four times as fast as making lists of them."""
    rows = [np.round(found[field], 3) for field in ("p10", "p50", "p90")]
    now, slope = (np.round(found[field], 4).tolist() for field in ("current", "trend"))
    scores = round1(judgement["scores"]).tolist()
    for server, profile in enumerate(profiles):
        entry = {metric: {"p10": low, "p50": mid, "p90": high, "current": value, "trend": rise}
                 for metric, low, mid, high, value, rise in zip(
                     METRICS, rows[0][server], rows[1][server], rows[2][server], now[server],
                     slope[server])}
        level, color, emoji, label = LEVELS[judgement["levels"][server]]
        entry["profile"], entry["model"] = LABELS[profile], models[server]
        entry["alert"] = {"level": level, "score": scores[server], "color": color, "emoji": emoji,
                          "label": label}
        entry["risk_score"], entry["display_metrics"] = scores[server], judgement["display"][server]
        yield entry


def iso(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).isoformat()


def document(found, judgement, fleet):
    """fleet: names, profiles, models (what forecast each), end_ms, records."""
    names, made_at = fleet["names"], iso(fleet["end_ms"])
    servers = entries(found, judgement, fleet["profiles"], fleet["models"])
    return {
        "predictions": dict(zip(names, servers)), "alerts": judgement["alerts"],
        "environment": judgement["environment"],
        "metadata": {"model_type": "TFT", "prediction_time": made_at, "history_end": made_at,
                     "horizon_steps": STEPS, "step_minutes": STEP_MIN,
                     "input_points": fleet["records"], "device": "cpu"},
        "summary": summary(names, judgement["scores"], judgement["levels"], made_at),
    }


def printed(answer):
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
