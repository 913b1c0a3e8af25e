"""The results of tests/bench/models/run as tables.

Results are {cell: {"engines": {name: numbers or problem}, ...}}; a cell is "model/threads".
"""

import re

OURS = "Moondial"
LOW = "Moondial --low-memory"
PEERS = ("ONNX Runtime", "OpenVINO")
INITIALS = {"ONNX Runtime": "O", "OpenVINO": "V"}
# Kinds of models in the order of the table; what matches none comes last.
KINDS = ("resnet", "vgg", "densenet", "mobilenet", "efficientnet", "regnet", "convnext", "vit",
         "swin", "unet", "hrnet", "resunet", "yolo", "detector", "text", "bert", "gpt", "loop",
         "gru", "lstm", "tcn", "transformer")


def order(name):
    """Sorts names by kind, then with numbers as numbers."""
    kind = next((i for i, prefix in enumerate(KINDS) if name.startswith(prefix)), len(KINDS))
    return kind, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def split(cell):
    name, threads = cell.rsplit("/", 1)
    return name, int(threads)


def better_peer(engines, field="median_ms"):
    """(name, value) of the peer with the least of a number, or None."""
    found = [(engines[name][field], name) for name in PEERS if field in engines.get(name, {})]
    return (min(found)[1], min(found)[0]) if found else None


def ratio(engines, field="median_ms"):
    """How many times as much the better peer takes; None where one of both has no number."""
    best, ours = better_peer(engines, field), engines.get(OURS, {}).get(field)
    return best[1] / ours if best and ours else None


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def share(engines):
    ours = engines.get(OURS, {})
    if "floor_ms" not in ours or "median_ms" not in ours:
        return "-"
    return f"{100 * ours['floor_ms'] / ours['median_ms']:.0f} %"


def cell_line(cell, found):
    """One line while measuring."""
    engines = found["engines"]
    words = [f"{cell:28}"]
    for name in (OURS, *PEERS):
        words.append(f"{number(engines.get(name, {}).get('median_ms')):>9}")
    words.append(f"{number(ratio(engines)):>7} x {share(engines):>6} of floor")
    words += [f"  {name}: {engines[name]['problem']}" for name in engines
              if "problem" in engines[name]]
    return "".join(words)


def by_model(results):
    """[(name, {threads: engines})] in the order of the table."""
    models = {}
    for cell, found in results.items():
        name, threads = split(cell)
        models.setdefault(name, {})[threads] = found["engines"]
    return sorted(models.items(), key=lambda item: order(item[0]))


def table(results, header, row):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(row(name, cells)) + " |" for name, cells in by_model(results)]


def times(found):
    """A ratio, in bold where we are ahead."""
    if found is None:
        return "-"
    return f"**{found:.2f} ×**" if found >= 1 else f"{found:.2f} ×"


def peer_cell(engines, field):
    best = better_peer(engines, field)
    return f"{number(best[1])} {INITIALS[best[0]]}" if best else "-"


def time_row(name, cells):
    words = [name]
    for threads in (1, 2):
        engines = cells.get(threads, {})
        words += [number(engines.get(OURS, {}).get("median_ms")), share(engines),
                  peer_cell(engines, "median_ms"), times(ratio(engines))]
    return words


def load_row(name, cells):
    """What loading takes, and peaks of memory, at two threads."""
    engines = cells.get(2, {})
    ours, low, best = engines.get(OURS, {}), engines.get(LOW, {}), better_peer(engines, "peak_mb")

    def of_best(peak):
        return f"{peak / best[1]:.2f} ×" if best and peak else "-"

    return [name, number(ours.get("load_ms")), number(ours.get("load_again_ms")),
            peer_cell(engines, "load_ms"), number(ours.get("peak_mb")),
            peer_cell(engines, "peak_mb"), of_best(ours.get("peak_mb")),
            number(low.get("peak_mb")), of_best(low.get("peak_mb")), number(low.get("median_ms"))]


def text(results):
    """Times, then loads (`packed`: with packed weights on disk) and peaks of memory."""
    lines = table(results, ["model", *("1 thread, ms", "of floor", "better peer", ""),
                            *("2 threads, ms", "of floor", "better peer", "")], time_row)
    loads = table(results, ["2 threads", "first answer, ms", "packed", "better peer", "peak, MB",
                            "better peer", "", "--low-memory, MB", "", "ms"], load_row)
    found = [ratio(result["engines"]) for result in results.values()]
    known = [each for each in found if each is not None]
    ahead = sum(each >= 1 for each in known)
    commits = sorted({result["commit"] for result in results.values()})
    problems = [f"{cell}: {name}: {numbers['problem']}" for cell, result in results.items()
                for name, numbers in result["engines"].items() if "problem" in numbers]
    return "\n".join([*lines, "", *loads, "",
                      f"ahead of the better peer in {ahead} of {len(known)} cells; "
                                  f"measured at {', '.join(commits)}", *problems])
