"""Pictures of single kernels: how they look, and how large they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

from toolchain.compress.sparsity.history import EpochRecord

MOST_BANDS = 8
MOST_IN_A_ROW = 32
GAP = 1
ZERO = 0.82
MOST_PANELS_IN_A_ROW = 4
SMALLEST_SHOWN = 1e-2
BINS = (12, 40)


def draw_kernels(records: Sequence[EpochRecord], _figure: str | None) -> Any:
    """The first layer's kernels in up to eight epochs, one band for each; all in one scale.

    Kernels of three channels are shown in colour, others as the mean over their channels.
    """
    shown = [records[index] for index in _spread(len(records), MOST_BANDS)]
    layer = next(iter(records[0].norms))
    colour = records[0].kernels.shape[1] == 3
    most = float(np.quantile(np.abs(np.stack([record.kernels for record in shown])), 0.999)) or 1.0
    bands = [_band(record, layer, most, colour) for record in shown]
    gap = np.ones((2 * GAP, *bands[0].shape[1:]))
    sheet = np.concatenate([part for band in bands for part in (band, gap)][:-1])
    height, width = sheet.shape[:2]
    inches = min(12.0, max(5.0, 0.36 * min(MOST_IN_A_ROW, len(records[0].kernels))))
    figure, axes = plt.subplots(figsize=(inches + 1.4, inches * height / width + 0.45))
    axes.imshow(sheet, interpolation="nearest")
    middles = [index * (len(bands[0]) + 2 * GAP) + len(bands[0]) / 2 - 0.5 for index in range(len(bands))]
    axes.set_yticks(middles, [f"epoch {record.epoch}" for record in shown])
    axes.set_xticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    what = "colour: weights of the three channels" if colour else "red: positive, blue: negative"
    axes.set_title(f"kernels of '{layer}' ({what}; grey: zero)")
    return figure


def _band(record: EpochRecord, layer: str, most: float, colour: bool) -> np.ndarray:
    """Tiles of all kernels, (height, width, 3) in 0-1."""
    kernels, zeroed = record.kernels, record.zeroed[layer]
    if colour:
        tiles = 0.5 + 0.5 * np.clip(kernels.transpose(0, 2, 3, 1) / most, -1, 1)
    else:
        tiles = plt.get_cmap("RdBu_r")(0.5 + 0.5 * np.clip(kernels.mean(1) / most, -1, 1))[..., :3]
    tiles[zeroed] = ZERO
    count, rows, columns = tiles.shape[:3]
    across = min(MOST_IN_A_ROW, count)
    down = math.ceil(count / across)
    band = np.ones((down * (rows + GAP) - GAP, across * (columns + GAP) - GAP, 3))
    for index, tile in enumerate(tiles):
        top, left = index // across * (rows + GAP), index % across * (columns + GAP)
        band[top : top + rows, left : left + columns] = tile
    return band


def draw_values(records: Sequence[EpochRecord], _figure: str | None) -> Any:
    """n of every kernel over the epochs: one panel per layer, one row per kernel, the largest on top.

    The unit is the mean of all n that are left in that epoch.
    """
    layers = list(records[0].norms)
    across = min(MOST_PANELS_IN_A_ROW, len(layers))
    down = math.ceil(len(layers) / across)
    figure, grid = plt.subplots(
        down, across, figsize=(2.6 * across + 1.2, max(3.2, 2.0 * down + 0.6)), squeeze=False, sharex=True
    )
    every = np.concatenate([_relative(record) for record in records])
    scale = LogNorm(max(SMALLEST_SHOWN, float(every[every > 0].min())), float(every.max()))
    colours = plt.get_cmap("viridis").with_extremes(bad=(ZERO,) * 3)
    image = None
    for axes, layer in zip(grid.flat, layers, strict=False):
        table = _evolution(records, layer)
        extent = (records[0].epoch - 0.5, records[-1].epoch + 0.5, len(table), 0)
        image = axes.imshow(
            table, aspect="auto", interpolation="nearest", norm=scale, cmap=colours, extent=extent
        )
        axes.set_title(f"{layer} ({len(table)})", fontsize=8)
        axes.set_yticks([])
        axes.grid(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in grid.flat[len(layers) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    label = "n / mean n of the kernels left (grey: zero)"
    assert image is not None
    assert scale.vmin is not None
    assert scale.vmax is not None
    bar = figure.colorbar(image, ax=list(grid.flat), label=label, shrink=0.8)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.yaxis.set_minor_formatter("{x:g}" if scale.vmax < 8 * scale.vmin else "")
    figure.suptitle("value of every kernel, layer by layer (number of kernels)", x=0.01, ha="left")
    return figure


def _relative(record: EpochRecord) -> np.ndarray:
    """All n in units of the mean of those left."""
    values = np.concatenate(list(record.norms.values()))
    return values / _unit(record)


def _unit(record: EpochRecord) -> float:
    values = np.concatenate(list(record.norms.values()))
    return float(values.sum() / max(1, record.filters_left)) or 1.0


def _evolution(records: Sequence[EpochRecord], layer: str) -> np.ndarray:
    """(kernels, epochs), strongest survivor first, the first kernel to go last; NaN: zero or no record."""
    first, last = records[0].epoch, records[-1].epoch
    table = np.full((len(records[0].norms[layer]), last - first + 1), np.nan)
    for record in records:
        values = record.norms[layer] / _unit(record)
        table[:, record.epoch - first] = np.where(record.zeroed[layer], np.nan, values)
    alive = np.isfinite(table).sum(1)
    return table[np.lexsort((-np.nan_to_num(table[:, -1]), -alive))]


def draw_histogram(records: Sequence[EpochRecord], _figure: str | None) -> Any:
    """How n is distributed over all kernels that are left: in the first, the middle and the last epoch."""
    shown = [records[index] for index in _spread(len(records), 3)]
    left = [values[values > 0] for values in map(_relative, shown)]
    low = min(float(values.min()) for values in left)
    high = max(float(values.max()) for values in left)
    count = int(np.clip(3 * math.sqrt(len(left[0])), *BINS))
    bins = np.geomspace(low / 1.1, high * 1.1, count)
    figure, axes = plt.subplots(figsize=(6.4, 3.8))
    for record, values, colour in zip(shown, left, _COLOURS, strict=False):
        zero = record.filters - record.filters_left
        label = f"epoch {record.epoch}: {record.filters_left} kernels, {zero} zero"
        axes.hist(values, bins.tolist(), histtype="stepfilled", alpha=0.35, color=colour, label=label)
        axes.hist(values, bins.tolist(), histtype="step", color=colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}" if high < 8 * low else "")
    axes.set_xlabel("n / mean n of the kernels left")
    axes.set_ylabel("kernels")
    axes.set_title("distribution of the values of all kernels")
    axes.legend(loc="upper left")
    return figure


_COLOURS = ("#7f7f7f", "#1f77b4", "#d62728")


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` positions at equal distances, the first and the last among them."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(most, count))})
