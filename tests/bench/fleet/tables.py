"""The results of tests/bench/fleet/run as text and as plots.

Results are {servers: {"programs": {name: numbers or problem}, "commit": ...}} and, of the growth,
{"servers": {n: numbers}, "horizon": {steps: numbers}}.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import plot  # noqa: E402

OURS, DOCUMENTS, BEST = "Moondial", "Python, as documented", "Python, the best"
AHEAD = "Moondial ahead"  # not a row: columns of ours
COLOURS = {OURS: "#1f9d74", DOCUMENTS: "#d9604f", BEST: "#4f8fcc", "linear": "#888"}
COLUMNS = [("feed", "feed_ms"), ("forecast", "forecast_ms"), ("ahead", "ahead_ms"),
           ("again", "again_ms"),
           ("bytes", "bytes"), ("per second", "per_second"), ("resident MB", "resident_mb")]
# What the documents want of `forecast`, ms, and of forecasts per second.
TARGETS = {20: ("18-25", None), 100: ("35-45", "20-25"), 500: ("80-120", "8-12")}


def number(value):
    if value is None:
        return "-"
    if value >= 10000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell_lines(servers, cell):
    lines = [f"{servers} servers" + " " * 18 + "".join(f"{title:>13}" for title, _ in COLUMNS)
             + f"{'x forecast':>13}"]
    ours = cell["programs"].get(OURS, {})
    for name, found in cell["programs"].items():
        if "problem" in found:
            lines.append(f"  {name:26}left out: {found['problem']}")
            continue
        ratio = found["forecast_ms"] / ours["forecast_ms"] if "forecast_ms" in ours else None
        lines.append(f"  {name:26}" + "".join(
            f"{number(found.get(field)):>13}" for _, field in COLUMNS) + f"{number(ratio):>13}")
    if servers in TARGETS:
        wanted, rate = TARGETS[servers]
        lines.append(f"  {'target of the documents':26}{'':13}{wanted:>13}{'':39}{rate or '-':>13}")
    if "start_ms" in ours:
        lines.append(f"  Moondial's tick, which makes the answer before anybody asks: "
                     f"{number(ours['tick_ms'])} ms with alert rules and storing; "
                     f"from exec to ready {number(ours['start_ms'])} ms")
    return lines


def stage_lines(cell):
    lines = []
    for name, found in cell["programs"].items():
        stages = ", ".join(f"{stage} {number(ms)}" for stage, ms in found.get("stages", {}).items())
        if stages:
            lines.append(f"  {name}: {stages} ms")
    return lines


def text(results):
    lines = []
    for servers in sorted(results, key=int):
        lines += cell_lines(int(servers), results[servers]) + stage_lines(results[servers]) + [""]
    names = {name: None for cell in results.values() for name in cell["programs"]}
    for name in names:
        numbers = {servers: cell["programs"][name] for servers, cell in results.items()
                   if "resident_mb" in cell["programs"].get(name, {})}
        if len(numbers) > 1:
            lines.append(f"{name}: {per_server_kb(numbers):.0f} KB for each server more")
    commits = sorted({cell["commit"] for cell in results.values()})
    return "\n".join(lines + [f"measured at {', '.join(commits)}"])


# ---- growth -------------------------------------------------------------------------------------


def per_server_kb(numbers):
    """Between the smallest and the largest fleet."""
    few, many = min(numbers, key=int), max(numbers, key=int)
    grown = numbers[many]["resident_mb"] - numbers[few]["resident_mb"]
    return 1024 * grown / max(1, int(many) - int(few))


def growth_text(growth):
    lines = [f"{'servers':>9}{'forecast ms':>14}{'us a server':>14}{'MB sent':>10}"
             f"{'resident MB':>14}"]
    for servers, found in sorted(growth.get("servers", {}).items(), key=lambda row: int(row[0])):
        lines.append(f"{servers:>9}{found['forecast_ms']:14.1f}"
                     f"{1000 * found['forecast_ms'] / int(servers):14.0f}"
                     f"{found['bytes'] / 1e6:10.2f}{found['resident_mb']:14.0f}")
    if len(growth.get("servers", {})) > 1:
        lines.append(f"memory: {per_server_kb(growth['servers']):.0f} KB for each server more")
    lines.append(f"{'horizon':>9}{'forecast ms':>14}{'model ms':>14}{'MB sent':>10}")
    for steps, found in sorted(growth.get("horizon", {}).items(), key=lambda row: int(row[0])):
        lines.append(f"{steps:>9}{found['forecast_ms']:14.1f}{found['model_ms']:14.1f}"
                     f"{found['bytes'] / 1e6:10.2f}")
    return "\n".join(lines)


def linear(line):
    """What a cost in proportion would be, from the largest down."""
    end = max(line)
    return {x: line[end] * x / end for x in line}


def write_plots(results, growth, folder):
    """Paths of the files written: cost by servers, and by horizon."""
    os.makedirs(folder, exist_ok=True)
    series = {}
    for servers, cell in results.items():
        for name, found in cell["programs"].items():
            if "forecast_ms" in found:
                series.setdefault(name, {})[int(servers)] = found["forecast_ms"]
    ours = {int(n): found["forecast_ms"] for n, found in growth.get("servers", {}).items()}
    if ours:
        series[OURS], series["linear"] = ours, linear(ours)
    paths = []
    if series:
        paths.append(os.path.join(folder, "servers.svg"))
        write(paths[-1], plot.lines("First request after a tick", "servers", "ms", series, COLOURS,
                                    bold=(OURS,), dashed=("linear",)))
    steps = {int(n): found for n, found in growth.get("horizon", {}).items()}
    if steps:
        model = {n: found["model_ms"] for n, found in steps.items()}
        whole = {n: found["forecast_ms"] for n, found in steps.items()}
        paths.append(os.path.join(folder, "horizon.svg"))
        write(paths[-1], plot.lines(
            "100 servers, by horizon", "forecast steps", "ms",
            {"first request": whole, "the model alone": model, "linear": linear(whole)},
            {"first request": COLOURS[OURS], "the model alone": "#d49b00"},
            bold=("first request",), dashed=("linear",)))
    return paths


def write(path, svg):
    with open(path, "w", encoding="utf-8") as file:
        file.write(svg)
