"""Pictures of the training: losses, errors or accuracies, and the term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from toolchain.compress.sparsity.history import EpochRecord

# Words in the names of figures that are shown; others (speeds, learning rates) belong to a log.
SCORES = ("error", "accuracy", "f1", "iou", "score")
LOSSES = ("loss",)


def draw_curves(records: Sequence[EpochRecord], _figure: str | None) -> Any:
    """Panels side by side: losses; errors or accuracies; the sparsity term with the filters left."""
    epochs = [record.epoch for record in records]
    names = sorted({name for record in records for name in record.figures})
    groups = [("loss", _named(names, LOSSES)), ("errors and accuracies, %", _named(names, SCORES))]
    groups = [(title, group) for title, group in groups if group]
    figure, panels = plt.subplots(1, len(groups) + 1, figsize=(4.2 * (len(groups) + 1), 3.6), squeeze=False)
    for axes, (title, group) in zip(panels[0], groups, strict=False):
        for name in group:
            values = [record.figures.get(name, np.nan) for record in records]
            axes.plot(epochs, values, marker=".", markersize=4, label=name.replace("_", " "))
        axes.set_title(title)
        axes.legend(loc="best")
    last = panels[0][-1]
    last.plot(epochs, [record.term for record in records], color="C3", marker=".", markersize=4)
    last.set_ylabel("sparsity term", color="C3")
    last.set_title("sparsity term and filters left")
    beside = last.twinx()
    beside.plot(epochs, [record.filters_left for record in records], color="black", drawstyle="steps-mid")
    beside.set_ylabel(f"filters left of {records[0].filters}")
    beside.set_ylim(0, 1.05 * records[0].filters)
    beside.grid(False)
    beside.spines["right"].set_visible(True)
    for axes in panels[0]:
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _named(names: Sequence[str], words: Sequence[str]) -> list[str]:
    return [name for name in names if any(word in name.lower() for word in words)]
