"""The results of tests/bench/tft/run as tables and as plots.

Results are {cell: {"peers": {name: numbers or problem}, ...}}; a cell is "hidden/batch/threads".
"""

import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import plot  # noqa: E402

OURS, ROLLING = "Moondial", "Moondial, rolling"
# One look a peer, whatever peers a plot has.
COLOURS = {
    OURS: "#1f9d74", ROLLING: "#7fc9a9", "PyTorch eager": "#d9604f",
    "PyTorch eager, LSTM unpacked": "#e08e79", "torch.compile": "#a578b8",
    "ONNX Runtime": "#4f8fcc", "OpenVINO": "#d49b00",
}


def split(cell):
    return tuple(int(word) for word in cell.split("/"))


def best_peer(peers):
    """(name, median ms) of the fastest peer that was right, or None."""
    timed = [(name, r["median_ms"]) for name, r in peers.items()
             if name not in (OURS, ROLLING) and "median_ms" in r]
    return min(timed, key=lambda pair: pair[1]) if timed else None


def cell_lines(cell, result):
    hidden, batch, threads = split(cell)
    peers = result["peers"]
    ours = peers.get(OURS, {}).get("median_ms")
    lines = [f"hidden {hidden}, batch {batch}, {threads} thread{'s' * (threads > 1)}",
             f"  {'':30}{'median ms':>11}{'fastest':>10}{'× ' + OURS:>12}{'of floor':>10}  error"]
    for name, r in peers.items():
        if "problem" in r:
            lines.append(f"  {name:30}left out: {r['problem']}")
            continue
        ratio = f"{r['median_ms'] / ours:12.2f}" if ours else f"{'-':>12}"
        share = f"{100 * r['floor_share']:8.0f} %" if "floor_share" in r else f"{'':10}"
        error = f"  {r['error']:.1e}" if "error" in r else ""
        lines.append(f"  {name:30}{r['median_ms']:11.2f}{r['min_ms']:10.2f}{ratio}{share}{error}")
    return lines + machine_lines(result.get("machine"))


def machine_lines(machine):
    if not machine:
        return []
    return [f"  the machine, by loops of its own: {machine['fma_gflops']:.0f} GFLOP/s, "
            f"{machine['read_gb_per_s']:.0f} GB/s"]


def summary_lines(results):
    """One line a cell: ours, the best peer, and how far apart they are."""
    lines = [f"{'hidden':>6}{'batch':>7}{'threads':>9}{'ms':>10}{'of floor':>10}"
             f"{'best peer':>32}{'ms':>10}{'ratio':>8}{'rolling':>10}{'ratio':>8}"]
    for cell in sorted(results, key=split):
        peers = results[cell]["peers"]
        ours, best = peers.get(OURS, {}), best_peer(peers)
        hidden, batch, threads = split(cell)
        line = f"{hidden:6}{batch:7}{threads:9}"
        if "median_ms" not in ours:
            lines.append(line + f"  {ours.get('problem', 'not measured')}")
            continue
        line += f"{ours['median_ms']:10.2f}{100 * ours.get('floor_share', math.nan):8.0f} %"
        if best:
            line += f"{best[0]:>32}{best[1]:10.1f}{best[1] / ours['median_ms']:8.1f}"
        rolling = peers.get(ROLLING, {}).get("median_ms")
        if best and rolling:
            line += f"{rolling:10.2f}{best[1] / rolling:8.1f}"
        lines.append(line)
    return lines


def text(results):
    lines = []
    for cell in sorted(results, key=split):
        lines += cell_lines(cell, results[cell]) + [""]
    commits = sorted({result["commit"] for result in results.values()})
    return "\n".join(lines + summary_lines(results)
                     + [f"measured at {', '.join(commits)}" if commits else ""])


def passes_text(results):
    """results: {"hidden/batch": [{step, threads, median_ms, min_ms}]}, a step with all before."""
    lines = []
    for cell in sorted(results, key=split):
        lines.append("hidden {}, batch {}: each with all before".format(*split(cell)))
        before = None
        for row in results[cell]:
            gain = f"{before / row['min_ms']:8.2f} x" if before else ""
            threads = f"{row['threads']} thread{'s' * (row['threads'] > 1)}"
            lines.append(f"  {row['step']:12}{threads:>12}{row['median_ms']:11.2f} ms"
                         f"{row['min_ms']:11.2f} ms at best{gain}")
            before = row["min_ms"]
    return "\n".join(lines)


# ---- plots --------------------------------------------------------------------------------------


def write_plots(results, folder):
    """One file a width and number of threads; returns their paths."""
    groups = {}
    os.makedirs(folder, exist_ok=True)
    for cell, result in results.items():
        hidden, batch, threads = split(cell)
        lines = groups.setdefault((hidden, threads), {})
        for name, r in result["peers"].items():
            if "median_ms" in r:
                lines.setdefault(name, {})[batch] = r["median_ms"]
    paths = []
    for (hidden, threads), lines in sorted(groups.items()):
        if not lines:
            continue
        path = os.path.join(folder, f"hidden_{hidden}_threads_{threads}.svg")
        with open(path, "w", encoding="utf-8") as file:
            file.write(plot.lines(f"TFT, hidden {hidden}, {threads} thread{'s' * (threads > 1)}",
                                  "rows of a batch", "ms", lines, COLOURS, bold=(OURS,)))
        paths.append(path)
    return paths
