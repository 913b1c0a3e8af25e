"""The document alone: what it takes to write forecasts that are there as JSON.

500 servers, 14 metrics, 96 steps, 3 quantiles; every number has all its digits. Ours writes columns
(md.json.rows); Python builds the dict, of lists or of rows of arrays, and orjson prints it. Both
"shortest" (the shortest text that reads back as the same float32; from lists, orjson sees doubles
and prints those) and with two decimals.
"""

import json
import statistics
import time

import numpy as np
import orjson

SERVERS, METRICS, STEPS = 500, 14, 96
FACTORS = {"p10": 0.11, "p50": 0.12, "p90": 0.13}
TRIALS = 7

OURS = """(function()
    local md = require "moondial"
    local roots = md.tensor.range(1, %(count)d):sqrt():reshape { %(shape)s }
    local names, columns, fields = {}, {}, {}
    for server = 1, %(servers)d do
        names[server] = ("server%%03d"):format(server - 1)
    end
    for field, factor in pairs { p10 = 0.11, p50 = 0.12, p90 = 0.13 } do
        columns[field] = roots:mul(factor)
    end
    local function printed()
        local rows = md.json.rows(columns)
        for metric = 1, %(metrics)d do
            fields[("metric%%02d"):format(metric - 1)] = rows:inner(metric)
        end
        return md.json.blob({ predictions = md.json.named {
            { names = names, rows = md.json.rows(fields) } } }, { decimals = %(decimals)d })
    end
    local took = time(function() printed() end)
    return { ms = took.median_s * 1000, bytes = #printed(), head = printed():text():sub(1, 4000) }
end)()"""


def ours(program, decimals):
    """{ms, bytes, head: the beginning of the text}"""
    values = {"count": SERVERS * METRICS * STEPS, "shape": f"{SERVERS}, {METRICS}, {STEPS}",
              "servers": SERVERS, "metrics": METRICS, "decimals": decimals}
    return program.daemon.evaluate(OURS % values)


def arrays():
    count = SERVERS * METRICS * STEPS
    roots = np.sqrt(np.arange(1, count + 1, dtype=np.float32)).reshape(SERVERS, METRICS, STEPS)
    return {field: roots * np.float32(factor) for field, factor in FACTORS.items()}


def dictionary(columns):
    metrics = [f"metric{metric:02}" for metric in range(METRICS)]
    low, mid, high = (columns[field] for field in FACTORS)
    return {"predictions": {
        f"server{server:03}": {
            metric: {"p10": a, "p50": b, "p90": c}
            for metric, a, b, c in zip(metrics, low[server], mid[server], high[server])}
        for server in range(SERVERS)}}


def from_lists(columns, decimals):
    if decimals >= 0:
        columns = {field: np.round(values.astype(float), decimals)
                   for field, values in columns.items()}
    lists = {field: values.tolist() for field, values in columns.items()}
    return orjson.dumps(dictionary(lists))


def from_arrays(columns, decimals):
    if decimals >= 0:
        columns = {field: np.round(values, decimals) for field, values in columns.items()}
    return orjson.dumps(dictionary(columns), option=orjson.OPT_SERIALIZE_NUMPY)


def timed(call, columns, decimals):
    times = []
    for _ in range(TRIALS):
        begun = time.perf_counter()
        text = call(columns, decimals)
        times.append(1000 * (time.perf_counter() - begun))
    return {"ms": statistics.median(times), "bytes": len(text), "head": text[:4000].decode()}


def numbers(head):
    """The numbers of the first list of a text."""
    return json.loads(head[head.index("["):head.index("]") + 1])


def compare(program):
    """Rows of (what, decimals or "shortest", {ms, bytes}); all must say the same."""
    rows, columns = [], arrays()
    for decimals, name in ((-1, "shortest"), (2, "2 decimals")):
        found = {"Moondial": ours(program, decimals),
                 "dict of lists, orjson": timed(from_lists, columns, decimals),
                 "dict of array rows, orjson": timed(from_arrays, columns, decimals)}
        wanted = numbers(found["Moondial"].pop("head"))
        for what, row in found.items():
            said = numbers(row.pop("head")) if "head" in row else wanted
            if not np.allclose(said, wanted, atol=0.006 if decimals >= 0 else 1e-5):
                raise RuntimeError(f"{what} prints {said[:3]}, not {wanted[:3]}")
            rows.append((what, name, row))
    return rows
