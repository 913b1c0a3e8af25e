"""The results of tests/bench/tft/run as tables and as plots.

Results are {cell: {"peers": {name: numbers or problem}, ...}}; a cell is "hidden/batch/threads".
"""

import math
import os

OURS = "Moondial"
# One look a peer, whatever peers a plot has.
COLOURS = {
    OURS: "#0b6e4f", "PyTorch eager": "#c44536", "PyTorch eager, LSTM unpacked": "#e08e79",
    "torch.compile": "#8e5ea2", "ONNX Runtime": "#3c6e9f", "OpenVINO": "#d49b00",
}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 620, 340, 60, 190, 40, 45


def split(cell):
    return tuple(int(word) for word in cell.split("/"))


def best_peer(peers):
    """(name, median ms) of the fastest peer that was right, or None."""
    timed = [(name, r["median_ms"]) for name, r in peers.items()
             if name != OURS and "median_ms" in r]
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
        lines.append(f"  {name:30}{r['median_ms']:11.2f}{r['min_ms']:10.2f}{ratio}{share}"
                     f"  {r['error']:.1e}")
    return lines


def summary_lines(results):
    """One line a cell: ours, the best peer, and how far apart they are."""
    lines = [f"{'hidden':>6}{'batch':>7}{'threads':>9}{'ms':>10}{'of floor':>10}"
             f"{'best peer':>32}{'ms':>10}{'ratio':>8}"]
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
        lines.append(line)
    return lines


def text(results):
    lines = []
    for cell in sorted(results, key=split):
        lines += cell_lines(cell, results[cell]) + [""]
    commits = sorted({result["commit"] for result in results.values()})
    return "\n".join(lines + summary_lines(results)
                     + [f"measured at {', '.join(commits)}" if commits else ""])


# ---- plots --------------------------------------------------------------------------------------


def ticks(low, high):
    """1, 10, 100 ... around both."""
    return [10.0 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def plot(title, series):
    """Milliseconds over batch, both logarithmic, as SVG. series: {name: {batch: ms}}."""
    batches = sorted({b for line in series.values() for b in line})
    values = [ms for line in series.values() for ms in line.values()]
    marks = ticks(min(values), max(values))
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    span = math.log(batches[-1] / batches[0]) or 1

    def x(batch):
        return LEFT + inner_width * math.log(batch / batches[0]) / span

    def y(ms):
        return TOP + inner_height * (1 - math.log(ms / marks[0]) / math.log(marks[-1] / marks[0]))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
             f'font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
             f'<text x="{LEFT}" y="{HEIGHT - 8}">rows of a batch</text>',
             f'<text x="8" y="{TOP - 8}">ms</text>']
    for mark in marks:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(mark):.1f}" '
                     f'y2="{y(mark):.1f}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">'
                     f'{mark:g}</text>')
    for batch in batches:
        parts.append(f'<text x="{x(batch):.1f}" y="{HEIGHT - BOTTOM + 18}" '
                     f'text-anchor="middle">{batch}</text>')
    last = sorted(series, key=lambda name: -series[name][max(series[name])])
    for place, name in enumerate(last):
        colour = COLOURS.get(name, "#555")
        points = " ".join(f"{x(b):.1f},{y(ms):.1f}" for b, ms in sorted(series[name].items()))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" '
                     f'stroke-width="{3 if name == OURS else 1.5}"/>'
                     f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 12 + 18 * place}" '
                     f'fill="{colour}">{name}</text>')
    return "\n".join(parts + ["</svg>\n"])


def write_plots(results, folder):
    """One file a width and number of threads; returns their paths."""
    groups = {}
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
            file.write(plot(f"TFT, hidden {hidden}, {threads} thread{'s' * (threads > 1)}", lines))
        paths.append(path)
    return paths
