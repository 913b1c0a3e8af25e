"""The fleet daemon's forecasts, recomputed from the records that were sent to it.

A daemon is started on scripts/fleet with the shipped model, fed a day of simulated history over
HTTP, and asked for /predictions/current. The same forecasts are then made here, from the same
records, by numpy alone: FORMAT.md's "Preparing the inputs" and its forward pass. Nothing is shared
with the Lua scripts that did it in the daemon, so an off-by-one step, a wrong calendar, another
server's scale or a swapped column shows as a difference.
"""

import csv
import datetime
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import numpy as np

import tft_reference

STEP_S = 300
# A day and a bit, ending with the step that is still open.
HISTORY_STEPS = 300
START_SECONDS_MAX = 60
SHOWN = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
# Float32 against float64, and answers rounded to three decimals.
TOLERANCE = 0.01
UNKNOWN_SERVER = "somebody-else"


def simulate(root, start_s):
    """Records of the simulator's default fleet, one step apart, as dictionaries."""
    start = datetime.datetime.fromtimestamp(start_s, datetime.timezone.utc)
    command = ["luajit", os.path.join(root, "examples/fleet/simulator/export.lua"),
               "--start", start.strftime("%Y-%m-%dT%H:%M:%S"), "--step", str(STEP_S),
               "--days", repr(HISTORY_STEPS * STEP_S / 86400)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = ("timestamp", "server_name", "profile", "status")
    records = []
    for row in csv.DictReader(text.splitlines()):
        row.pop("problem_child")
        records.append({k: v if k in words else float(v) for k, v in row.items()})
    return records


def with_stranger(records):
    """One server more that the model has no row for: a copy under another name."""
    first = records[0]["server_name"]
    return records + [r | {"server_name": UNKNOWN_SERVER, "profile": "generic"}
                      for r in records if r["server_name"] == first]


# ---- the daemon ---------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, body=None):
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url} answered {error.code}: {error.read()[:300]}") from error


class Daemon:
    """`moondial serve scripts/fleet` with an empty state, as a context."""

    def __init__(self, binary, root):
        self.state = tempfile.TemporaryDirectory()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = open(os.path.join(self.state.name, "log"), "w+b")  # noqa: SIM115
        self.process = subprocess.Popen(
            [binary, "serve", os.path.join(root, "scripts", "fleet"), "--listen", self.url[7:],
             "--state", os.path.join(self.state.name, "state")],
            stdout=self.log, stderr=self.log)

    def __enter__(self):
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end and self.process.poll() is None:
            try:
                ask(self.url + "/ready")
                return self
            except (RuntimeError, OSError):
                time.sleep(0.2)
        said = self.said()
        self.__exit__()
        raise RuntimeError(f"the daemon did not get ready: {said[-300:]}")

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip()

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.state.cleanup()


# ---- the same forecast by hand ------------------------------------------------------------------


def inverse_softplus(y):
    return np.where(y > 20, y, y + np.log(-np.expm1(-np.minimum(y, 20))))


def rows_before(records, end_s, steps):
    """{server: [record per step]} of the last `steps` steps; a gap repeats the row before it."""
    found = {}
    for record in records:
        at = datetime.datetime.fromisoformat(record["timestamp"].replace("Z", "+00:00"))
        step = int(at.timestamp() - end_s) // STEP_S + steps
        if 0 <= step < steps:
            found.setdefault(record["server_name"], {})[step] = record
    filled = {}
    for name, by_step in found.items():
        rows = []
        for step in range(min(by_step), steps):
            rows.append(by_step.get(step) or rows[-1])
        filled[name] = rows
    return filled


def calendar(config, start_s, count):
    times = [datetime.datetime.fromtimestamp(start_s + i * STEP_S, datetime.timezone.utc)
             for i in range(count)]
    return {"hour": [t.hour for t in times], "day_of_week": [t.weekday() for t in times],
            "month": [t.month for t in times], "is_weekend": [t.weekday() >= 5 for t in times]}


def target_scale(config, name, z):
    for row in config["targets"][0]["normalizer"]["rows"]:
        if row["key"] == [name]:
            return row["center"], row["scale"]
    return z.mean(), max(z.std(ddof=1), config["fleet"]["target_scale"]["window"]["scale_min"])


def inputs_of(config, name, rows, end_s):
    """The forward inputs of one server, a batch of one."""
    past, future = len(rows), config["dataset"]["max_prediction_length"]
    target, most = config["targets"][0]["name"], config["max_encoder_length"]
    z = inverse_softplus(np.clip([r[target] for r in rows], *config["fleet"]["target_clip"]))
    center, scale = target_scale(config, name, z)
    columns = calendar(config, end_s - past * STEP_S, past + future)
    columns["relative_time_idx"] = np.arange(-past, future) / most
    columns["encoder_length"] = np.full(past + future, (past - most / 2) / (most / 2))
    columns[target + "_center"] = np.full(past + future, center)
    columns[target + "_scale"] = np.full(past + future, scale)
    cont = np.zeros((1, past + future, len(config["x_reals"])))
    for index, real in enumerate(config["dataset"]["reals"]):
        values = columns.get(real["name"])
        values = [r[real["name"]] for r in rows] if values is None else values
        if real["scaler"]["kind"] == "standard":
            values = (np.asarray(values, float) - real["scaler"]["mean"]) / real["scaler"]["scale"]
        if real["name"] == target:
            values = (z - center) / scale
        cont[0, :len(values), index] = values
    cat = np.zeros((1, past + future, len(config["x_categoricals"])), np.int64)
    for index, categorical in enumerate(config["dataset"]["categoricals"]):
        classes = categorical["classes"]
        codes = [classes.get(r[categorical["name"]], 0) for r in rows]
        codes += [codes[-1] if categorical["role"] == "static" else 0] * future
        cat[0, :, index] = codes
    return {"encoder_cat": cat[:, :past], "encoder_cont": cont[:, :past],
            "decoder_cat": cat[:, past:], "decoder_cont": cont[:, past:],
            "encoder_lengths": np.array([past]), "decoder_lengths": np.array([future]),
            "target_scale": np.array([[center, scale]])}


def difference(model, name, rows, end_s, shown):
    """Largest difference between the daemon's quantiles of one server and ours."""
    config = model.config
    target = config["targets"][0]
    ours = model.run(inputs_of(config, name, rows, end_s))["prediction"][0]
    metric = shown[target["name"]]
    return max(
        np.abs(np.clip(ours[:, target["quantiles"].index(quantile)], 0, 100) - metric[key]).max()
        for key, quantile in SHOWN.items())


def check(results, binary, root):
    """One test per server that the model forecast, and one that it forecast most of them."""
    model = tft_reference.Tft(os.path.join(root, "scripts", "fleet", "models", "tft"))
    now_s = int(time.time()) // STEP_S * STEP_S
    records = with_stranger(simulate(root, now_s - (HISTORY_STEPS - 1) * STEP_S))
    with Daemon(binary, root) as daemon:
        taken = ask(daemon.url + "/feed/data", json.dumps({"records": records}).encode())
        answer = ask(daemon.url + "/predictions/current")
    end = datetime.datetime.fromisoformat(answer["metadata"]["history_end"].replace("Z", "+00:00"))
    end_s = int(end.timestamp())
    rows = rows_before(records, end_s, model.config["max_encoder_length"])
    forecast = [n for n, p in answer["predictions"].items() if p["model"] == "tft"]
    enough = [n for n in rows if len(rows[n]) >= model.config["dataset"]["min_encoder_length"]]
    missing = sorted(set(enough) - set(forecast))
    results.check("daemon forecasts every server with history by the model",
                  None if len(enough) > 15 and len(missing) <= 2 and UNKNOWN_SERVER in forecast
                  else f"missing {missing}; feed said {str(taken)[:200]}")
    for name in forecast:
        worst = difference(model, name, rows[name], end_s, answer["predictions"][name])
        results.check(f"daemon's forecast of {name}",
                      None if worst <= TOLERANCE else f"differs by {worst:.3g} points")
