"""The comparison of face parsers as Markdown."""

from __future__ import annotations

from typing import Any

NONE = "-"
MEGA = 1e6
HEADS = (
    "network",
    "overall F1",
    "strict F1",
    "lowest class F1",
    "parameters",
    "multiply-adds, M",
    "latency, ms",
    "latency / {reference}",
    "hours",
    "overall F1 on Helen, as published*",
    "parameters, M, as published",
    "remark",
)


def table(report: dict[str, Any]) -> str:
    """The report of `face_networks.compare`: what was measured in a sentence, and the table."""
    heads = [head.format(reference=report["settings"]["reference"]) for head in HEADS]
    rows = [_row(name, entry) for name, entry in report["networks"].items()]
    lines = [" | ".join(cells) for cells in (heads, ["---"] * len(heads), *rows)]
    return f"{_sentence(report)}\n\n" + "".join(f"| {line} |\n" for line in lines) + f"\n{_FOOTNOTE}\n"


_FOOTNOTE = (
    "\\* Of the thesis, measured on other data (Helen): not comparable by value with the figures beside it."
    " F1 in percent, where there are several seeds as mean (lowest..highest)."
)


def _sentence(report: dict[str, Any]) -> str:
    settings, machine = report["settings"], report["environment"]
    recipe, latency = settings["recipe"], settings["latency"]
    epochs = f"{recipe['epochs']} epoch{'s' if recipe['epochs'] > 1 else ''}"
    return (
        f"One recipe (`{recipe['name']}`, batch {recipe['batch_size']}, learning rate"
        f" {recipe['optimizer']['learning_rate']:g}) and equal budget: {epochs} at"
        f" {recipe['size']} px over {settings['training_pictures']:,} training pictures ({settings['data']}),"
        f" F1 at {recipe['size']} px on the first frames of {settings['validation_pictures']:,} validation"
        f" pictures; multiply-adds and latency at {latency['size']} px, the latter as median processor time"
        f" of the fp32 .tflite file on LiteRT, {latency['threads']} thread, all networks interleaved,"
        f" on {machine['cpu']}, {machine['usable_cores']} cores."
    )


def _row(name: str, entry: dict[str, Any]) -> list[str]:
    figures, latency, published = entry["figures"], entry["latency"], entry["published"]
    ratio = latency["ratio"]["cpu"]
    return [
        name,
        *(_spread(figures.get(key)) for key in ("overall_f1", "strict_f1", "lowest_class_f1")),
        f"{entry['parameters']:,}",
        f"{entry['multiply_adds'] / MEGA:,.0f}",
        f"{latency['cpu']['median']:,.1f}",
        f"{ratio['mean'] if ratio else 1:.3f}",
        f"{figures['hours']['mean']:.2f}" if figures else NONE,
        f"{published['overall_f1']:.2f}" if published else NONE,
        f"{published['parameters_millions']:.2f}" if published else NONE,
        "; ".join(entry["remarks"]) or NONE,
    ]


def _spread(found: dict[str, float] | None) -> str:
    if found is None:
        return NONE
    mean = f"{found['mean']:.2f}"
    return mean if found["count"] == 1 else f"{mean} ({found['lowest']:.2f}..{found['highest']:.2f})"
