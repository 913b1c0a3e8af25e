"""The results of tests/bench/models/run as tables.

Results are {cell: {"engines": {name: numbers or problem}, ...}}; a cell is "model/threads".
"""

import re

OURS = "Moondial"
PEERS = ("ONNX Runtime", "OpenVINO")
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


def table(results, header, row):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for cell in sorted(results, key=lambda cell: (order(split(cell)[0]), split(cell)[1])):
        lines.append("| " + " | ".join(row(cell, results[cell]["engines"])) + " |")
    return lines


def time_row(cell, engines):
    name, threads = split(cell)
    found = ratio(engines)
    return [name, str(threads), *(number(engines.get(e, {}).get("median_ms"))
                                  for e in (OURS, *PEERS)),
            "-" if found is None else f"**{found:.2f}**" if found >= 1 else f"{found:.2f}",
            share(engines)]


def load_row(cell, engines):
    """Loads and peaks of the cells with two threads; `again`: with packed weights on disk."""
    def shown(name, field):
        return number(engines.get(name, {}).get(field))

    best, low = better_peer(engines, "peak_mb"), engines.get(OURS, {}).get("low_mb")
    ours = engines.get(OURS, {}).get("peak_mb")
    return [split(cell)[0], shown(OURS, "load_ms"), shown(OURS, "load_again_ms"),
            *(shown(peer, "load_ms") for peer in PEERS), shown(OURS, "peak_mb"),
            shown(OURS, "low_mb"), *(shown(peer, "peak_mb") for peer in PEERS),
            f"{ours / best[1]:.2f}" if best and ours else "-",
            f"{low / best[1]:.2f}" if best and low else "-"]


def text(results):
    lines = table(results, ["model", "threads", "Moondial, ms", *PEERS, "better peer / ours",
                            "of floor"], time_row)
    two = {cell: result for cell, result in results.items() if split(cell)[1] == 2}
    loads = table(two, ["2 threads", "first answer, ms", "packed on disk", *PEERS, "peak MB",
                        "--low-memory", *PEERS, "peak / better peer", "low / better peer"],
                  load_row)
    found = [ratio(result["engines"]) for result in results.values()]
    known = [each for each in found if each is not None]
    ahead = sum(each >= 1 for each in known)
    commits = sorted({result["commit"] for result in results.values()})
    problems = [f"{cell}: {name}: {numbers['problem']}" for cell, result in results.items()
                for name, numbers in result["engines"].items() if "problem" in numbers]
    return "\n".join([*lines, "", *loads, "",
                      f"ahead of the better peer in {ahead} of {len(known)} cells; "
                                  f"measured at {', '.join(commits)}", *problems])
