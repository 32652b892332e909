"""Look-up tables of weights: k-means in one dimension, over the distinct values and how often they occur.

Float16 weights have at most 65,536 distinct values, so that a step of Lloyd's algorithm costs a search for
the borders between centroids and not a pass over the weights. Nothing is random.

Sources: Lloyd, Least squares quantization in PCM (1982); the first centroids follow the cube root of the
density, which is optimal for many levels (Panter and Dite, Quantization distortion in pulse-count modulation,
1951).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

MOST_STEPS = 300
# Histogram bins per centroid for the density: fine ones follow noise, coarse ones miss peaks.
BINS_PER_LEVEL = (1 / 8, 1 / 4, 1 / 2)
LEAST_BINS = 8
CODES = 1 << 16


def palettize(weights: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """A table of 2 ** bits values and the index of each weight's nearest one.

    Args:
        weights: finite float16 or float32 numbers of any shape.
        bits: 1 to 8.

    Returns:
        (table, indices): table of the type of the weights, in ascending order, its last value repeated where
        there are fewer distinct weights than entries; uint8 indices of the shape of the weights.
    """
    levels = 1 << bits
    values, counts, places = distinct(weights)
    centroids = values if len(values) <= levels else _best(values, counts, levels)
    # Rounding may move a centroid, so that the nearest one is looked for after it.
    table = np.unique(centroids.astype(weights.dtype).astype(np.float64)).astype(weights.dtype)
    nearest = np.searchsorted(middles(table.astype(np.float64)), values).astype(np.uint8)
    table = np.concatenate([table, np.repeat(table[-1:], levels - len(table))])
    return table, nearest[places].reshape(weights.shape)


def lossless_tables(weights: np.ndarray, bits: int, axis: int, counts: Iterable[int]) -> int | None:
    """How many tables along an axis keep every weight exactly: the first such number, None where none does.

    Weights that were shared in a network still are where batch normalization was folded in, but then the
    shared values differ from one output channel to the next.

    Args:
        weights: finite float16 or float32 numbers.
        bits: a table has 2 ** bits entries.
        axis: of the output channels.
        counts: numbers of tables to try; each divides the channels.
    """
    # Adding 0 makes one number of 0 and -0; float32, because numpy 2.4 sorts long rows of float16 wrongly.
    rows = np.moveaxis(weights, axis, 0).astype(np.float32) + np.float32(0)
    for count in counts:
        ordered = np.sort(rows.reshape(count, -1), axis=1)
        if ((ordered[:, 1:] != ordered[:, :-1]).sum(1) < 1 << bits).all():
            return count
    return None


def distinct(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct values in ascending order (float64), how often each occurs, and which one each weight is."""
    if weights.dtype != np.float16:
        values, places, counts = np.unique(weights, return_inverse=True, return_counts=True)
        return values.astype(np.float64), counts, places.reshape(-1)
    # Adding 0 makes one number of 0 and -0, which folded batch normalization brings in.
    codes = np.ascontiguousarray(weights + np.float16(0)).reshape(-1).view(np.uint16)
    occurring = np.bincount(codes, minlength=CODES)
    present = np.flatnonzero(occurring)
    values = present.astype(np.uint16).view(np.float16).astype(np.float64)
    order = np.argsort(values, kind="stable")
    rank = np.zeros(CODES, np.int32)
    rank[present[order]] = np.arange(len(order))
    return values[order], occurring[present[order]], rank[codes]


class Sums:
    """Sums over ranges of the sorted distinct values."""

    def __init__(self, values: np.ndarray, counts: np.ndarray) -> None:
        self.values = values
        self._count = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
        self._sum = np.concatenate([[0.0], np.cumsum(counts * values)])
        self._square = np.concatenate([[0.0], np.cumsum(counts * values**2)])

    def borders(self, centroids: np.ndarray) -> np.ndarray:
        """Range of values that lie nearest to each centroid: borders[i] to borders[i + 1]."""
        inner = np.searchsorted(self.values, middles(centroids))
        return np.concatenate([[0], inner, [len(self.values)]])

    def within(self, borders: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per range: number of weights, mean (0 where there are none), sum of squared distances to it."""
        count, total, square = (np.diff(sums[borders]) for sums in (self._count, self._sum, self._square))
        mean = total / np.maximum(count, 1)
        return count, mean, np.maximum(square - total * mean, 0)


def _best(values: np.ndarray, counts: np.ndarray, levels: int) -> np.ndarray:
    """The centroids with the least squared error among those that several starts lead to."""
    sums = Sums(values, counts)
    bins = [max(LEAST_BINS, round(share * levels)) for share in BINS_PER_LEVEL]
    starts = [_by_density(values, counts, levels, count) for count in dict.fromkeys(bins)]
    starts.append(np.linspace(values[0], values[-1], levels))
    return min((lloyd(sums, start) for start in starts), key=lambda found: found[1])[0]


def _by_density(values: np.ndarray, counts: np.ndarray, levels: int, bins: int) -> np.ndarray:
    """Centroids whose density is the cube root of that of the weights."""
    density, edges = np.histogram(values, bins, weights=counts)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    return np.interp((np.arange(levels) + 0.5) / levels * share[-1], share, edges)


def lloyd(sums: Sums, centroids: np.ndarray, steps: int = MOST_STEPS) -> tuple[np.ndarray, float]:
    """(centroids, squared error) where neither the borders nor the means move any more, or after `steps`.

    No step makes the error larger. A centroid without weights leaves its place for one of large error.

    Args:
        sums: of the weights.
        centroids: first ones, in ascending order.
        steps: most of them.
    """
    borders = sums.borders(centroids)
    for _ in range(steps):
        count, mean, error = sums.within(borders)
        moved = sums.borders(_refilled(sums, borders, count, mean, error))
        if np.array_equal(moved, borders):
            break
        borders = moved
    count, mean, error = sums.within(borders)
    return mean[count > 0], float(error.sum())


def _refilled(
    sums: Sums, borders: np.ndarray, count: np.ndarray, mean: np.ndarray, error: np.ndarray
) -> np.ndarray:
    """The means in ascending order; a centroid without weights goes to the end of a range of large error."""
    empty = np.flatnonzero(count == 0)
    if not len(empty):
        return mean
    worst = np.argsort(-error, kind="stable")[: len(empty)]
    mean = mean.copy()
    mean[empty] = sums.values[borders[worst + 1] - 1]
    return np.sort(mean)


def middles(centroids: np.ndarray) -> np.ndarray:
    """Borders between neighbouring centroids."""
    # The sum of the largest numbers would overflow.
    return centroids[1:] / 2 + centroids[:-1] / 2
