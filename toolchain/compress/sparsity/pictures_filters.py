"""Pictures of what is left: filters of every layer, and what they cost in accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from toolchain.compress.sparsity.history import EpochRecord, lower_is_better, pareto_front

# More layers than this are too many for a line and a name each.
MOST_NAMED = 10
MOST_LABELS = 12


def draw_filters(records: Sequence[EpochRecord], _figure: str | None) -> Any:
    """Filters left of every layer: over the epochs, and as bars in the last one."""
    layers, epochs = list(records[0].zeroed), [record.epoch for record in records]
    named = len(layers) <= MOST_NAMED
    figure, (over, bars) = plt.subplots(1, 2, figsize=(10, max(3.6, 0.22 * len(layers) + 1.2)))
    for index, layer in enumerate(layers):
        shares = [100 * (1 - record.zeroed[layer].mean()) for record in records]
        style = {"color": f"C{index}", "label": layer} if named else {"color": "#bbbbbb", "linewidth": 0.8}
        over.plot(epochs, shares, **style)
    total = [100 * record.filters_left / record.filters for record in records]
    over.plot(epochs, total, color="black", linewidth=2, label="all layers")
    over.set_ylim(0, 102)
    over.set_xlabel("epoch")
    over.set_ylabel("filters left, %")
    over.set_title("filters left over the epochs" + ("" if named else " (grey: single layers)"))
    over.xaxis.get_major_locator().set_params(integer=True)
    over.legend(loc="best")

    last = records[-1]
    places = np.arange(len(layers))
    every = [len(last.zeroed[layer]) for layer in layers]
    left = [int((~last.zeroed[layer]).sum()) for layer in layers]
    bars.barh(places, every, color="#dddddd", label="zero")
    bars.barh(places, left, color="#1f77b4", label="left")
    for place, kept, count in zip(places, left, every, strict=True):
        bars.annotate(
            f"{kept} of {count}", (count, place), (3, 0), textcoords="offset points", va="center", fontsize=8
        )
    bars.set_yticks(places, layers, fontsize=8 if named else 7)
    bars.set_ylim(len(layers) - 0.5, -0.5)
    bars.set_xlim(0, 1.18 * max(every))
    bars.set_xlabel("filters")
    bars.grid(False)
    bars.set_title(f"epoch {last.epoch}: {last.filters_left} of {last.filters} filters left")
    return figure


def draw_trade_off(records: Sequence[EpochRecord], figure: str | None) -> Any:
    """The figure by which epochs are judged, against the filters left; those worth a choice are joined."""
    assert figure is not None
    judged = [record for record in records if np.isfinite(record.figures.get(figure, np.nan))]
    front = pareto_front(records, figure)
    drawn, axes = plt.subplots(figsize=(6.8, 4.2))
    points = axes.scatter(
        [record.filters_left for record in judged],
        [record.figures[figure] for record in judged],
        c=[record.epoch for record in judged],
        cmap="viridis",
        s=28,
        zorder=3,
    )
    axes.plot(
        [record.filters_left for record in front],
        [record.figures[figure] for record in front],
        color="#d62728",
        linewidth=1.2,
        drawstyle="steps-post",
        marker="o",
        markersize=9,
        markerfacecolor="none",
        label="no other epoch has both fewer filters and a better figure",
    )
    for record in front[:MOST_LABELS]:
        axes.annotate(
            f"epoch {record.epoch}",
            (record.filters_left, record.figures[figure]),
            (5, 5 if not lower_is_better(figure) else -11),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel(f"filters left of {records[0].filters}")
    axes.set_ylabel(f"{figure} ({'lower' if lower_is_better(figure) else 'higher'} is better)")
    axes.set_title("accuracy against filters left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.08)
    axes.legend(loc="best")
    bar = drawn.colorbar(points, label="epoch")
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn
