"""The model card: figures from `train.py`, put into `card_template.md` and into one line.

The card is the README.md of the exported folder; training.json beside it holds the figures in full.
"""

import json
import os

NAMES = {
    "tft": "TFT, median",
    "last_value": "last value",
    "same_time_yesterday": "same time yesterday",
}

TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "card_template.md")



def table(report):
    buckets = list(report["by_horizon"])
    lines = ["| forecast | " + " | ".join(f"{b}: MAE | QL" for b in buckets) + " |"]
    lines.append("|---|" + "---|" * (2 * len(buckets)))
    for key, name in NAMES.items():
        cells = [f"{report['by_horizon'][b][key][f]:.2f}"
                 for b in buckets for f in ("mae", "quantile_loss")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def coverage(held, unseen):
    quantiles = list(held["share_below"])
    rows = [["quantile"] + quantiles,
            ["held-out days"] + [f"{held['share_below'][q]:.2f}" for q in quantiles],
            ["unseen fleets"] + [f"{unseen['share_below'][q]:.2f}" for q in quantiles]]
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def overall(report, name):
    return report["by_horizon"]["all"][name]


def beats_both(report):
    """True when the TFT's error and loss are below both baselines' in every horizon bucket."""
    return all(
        forecasts["tft"][figure] < forecasts[other][figure]
        for forecasts in report["by_horizon"].values()
        for figure in ("mae", "quantile_loss")
        for other in ("last_value", "same_time_yesterday")
    )


def in_words(report):
    lines = []
    for key, where in (("held_out_days", "held-out days"), ("unseen_fleets", "unseen fleets")):
        part = report[key]
        errors = ", ".join(f"{name} {overall(part, k)['mae']:.2f}" for k, name in NAMES.items())
        verdict = "beats both everywhere" if beats_both(part) else "DOES NOT beat both everywhere"
        lines.append(f"done. On {where} the mean error in CPU points is: {errors}; it {verdict}.")
    return " ".join(lines)


def write(folder, report):
    held, unseen, run = report["held_out_days"], report["unseen_fleets"], report["training"]
    window = overall(report["held_out_days_window_scale"], "tft")
    with open(TEMPLATE, encoding="utf-8") as file:
        template = file.read()
    text = template.format(
        parameters=f"{run['parameters']:,}", fleets=run["fleets"],
        days=sum(run["days"]), train_days=run["days"][0],
        choose_days=run["days"][1], test_days=run["days"][2], training=run["in_words"],
        held=table(held), held_windows=report["windows"]["held_out_days"],
        window_mae=f"{window['mae']:.2f}", window_loss=f"{window['quantile_loss']:.2f}",
        unseen=table(unseen), unseen_windows=report["windows"]["unseen_fleets"],
        coverage=coverage(held, unseen),
    )
    with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
        file.write(text)
    with open(os.path.join(folder, "training.json"), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
