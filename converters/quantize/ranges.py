"""Ranges of tensors: from histograms (percentile, entropy, squared error), and from the cards of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from toolchain.converters.quantize.observe import Histogram
from toolchain.converters.quantize.scheme import HIGH, LOW, STEPS, Range, asymmetric_scale
from toolchain.errors import UsageError

PERCENTILE = 99.99
# Clipping ranges are searched among these shares of the extremes.
SHARES = tuple(count / 64 for count in range(64, 0, -1))
ROUNDS = 2
# A search looks at the histogram in at most about that many bins: 8 for each of the 256 steps.
SEARCHED_BINS = 2048
# Where in a bin its values are assumed to lie, in widths.
POINTS = (1 / 6, 1 / 2, 5 / 6)

Cost = Callable[[Range, float], float]
"""Of a range; more than the second argument where it is known to be, without its exact amount."""


def ranges_from_card(card: Mapping[str, Any] | None) -> dict[str, Range]:
    """The ranges that the card of shipped weights holds, by tensor name of the cleaned graph.

    Args:
        card: the JSON beside the weights; None for a network without.

    Raises:
        UsageError: there is no card, it holds no ranges, or they are not pairs of finite numbers.
    """
    hint = "give calibration data with --calibration"
    if card is None:
        raise UsageError("int8 needs ranges of all layers, and the network has no card that holds them", hint)
    name = card.get("model", "the network")
    found = (card.get("calibration") or {}).get("ranges")
    if not found:
        raise UsageError(f"the card of {name} holds no ranges", hint)
    ranges = {}
    for tensor, pair in found.items():
        try:
            low, high = (float(number) for number in pair)
        except (TypeError, ValueError) as error:
            raise UsageError(f"the card of {name} holds {pair!r} as range of '{tensor}'", hint) from error
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise UsageError(f"the card of {name} holds {low:g} to {high:g} as range of '{tensor}'", hint)
        ranges[tensor] = Range(low, high)
    return ranges


def by_percentile(histogram: Histogram, extremes: Range, percent: float = PERCENTILE) -> Range:
    """The range that holds `percent` of the values, as many of the others below it as above.

    Within a bin the values count as evenly spread.
    """
    cumulated = np.concatenate([[0], np.cumsum(histogram.counts)])
    cut = (100 - percent) / 200 * cumulated[-1]
    low = _crossing(cumulated, histogram.edges, cut, "right")
    high = _crossing(cumulated, histogram.edges, cumulated[-1] - cut, "left")
    return _within(Range(low, high), extremes)


def _crossing(cumulated: np.ndarray, edges: np.ndarray, count: float, side: str) -> float:
    """Where the cumulated count is reached: `side` "left" for its first point, "right" for its last."""
    place = int(np.searchsorted(cumulated, count, side))  # type: ignore[call-overload]
    place = min(max(place, 1), len(edges) - 1)
    before, after = cumulated[place - 1], cumulated[place]
    share = 0.0 if after == before else (count - before) / (after - before)
    return float(edges[place - 1] + share * (edges[place] - edges[place - 1]))


def by_squared_error(histogram: Histogram, extremes: Range) -> Range:
    """The range with the least expected squared error of int8, rounding and clipping together.

    Exact zeros have none. Source of the idea: Sung et al., Resiliency of deep neural networks under
    quantization, 2015; the error is taken from the histogram instead of an assumed distribution.
    """
    centres, counts, width = _filled(histogram, with_zeros=False)
    if not centres.size:
        return extremes
    points = (centres[:, None] + (np.array(POINTS) - 0.5) * width).reshape(-1)
    weights = np.repeat(counts / len(POINTS), len(POINTS))

    powers = np.stack([weights, weights * points, weights * points**2])
    below = np.concatenate([np.zeros((3, 1)), np.cumsum(powers, axis=1)], axis=1)

    def cost(found: Range, least: float) -> float:
        scale, zero = asymmetric_scale(found)
        low, high = (LOW - zero) * scale, (HIGH - zero) * scale
        first, last = np.searchsorted(points, (low, high))
        clipped = _distance(below[:, first], low) + _distance(below[:, -1] - below[:, last], high)
        if clipped > least:
            return clipped
        inside = points[first:last]
        off = inside - np.rint(inside / scale) * scale
        # Unlike np.dot it starts no second thread, which would wait actively until the next range.
        return clipped + float(np.einsum("i,i,i", weights[first:last], off, off))

    return _searched(cost, extremes)


def _distance(moments: np.ndarray, end: float) -> float:
    """Sum of squared distances from `end` of points with the given sums of 1, x and x^2."""
    count, total, squares = moments
    return max(float(squares - 2 * end * total + end**2 * count), 0.0)


def by_entropy(histogram: Histogram, extremes: Range) -> Range:
    """The range whose 256 levels keep the distribution best: least Kullback-Leibler divergence.

    Values outside count as lying at its ends. Exact zeros are left out, since they are exact in any range and
    would hide the rest behind a Relu. Source: Migacz, 8-bit inference with TensorRT, GTC 2017.
    """
    centres, counts, _ = _filled(histogram, with_zeros=False)
    if not centres.size:
        return extremes

    def cost(found: Range, _least: float) -> float:
        inside = (centres >= found.low) & (centres <= found.high)
        if not inside.any():
            return math.inf
        kept = counts[inside].astype(np.float64)
        clipped = kept.copy()
        clipped[0] += counts[centres < found.low].sum()
        clipped[-1] += counts[centres > found.high].sum()
        span = found.high - found.low
        level = np.minimum((centres[inside] - found.low) / span * (STEPS + 1), STEPS).astype(np.int64)
        sums, bins = np.bincount(level, kept), np.bincount(level)
        spread = sums[level] / bins[level]
        share, guess = clipped / clipped.sum(), spread / spread.sum()
        return float(np.dot(share, np.log(share / guess)))

    return _searched(cost, extremes)


def _filled(histogram: Histogram, with_zeros: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Centres and counts of the bins that are not empty, and their width."""
    counts, first, width = histogram.counts.copy(), histogram.first, histogram.width
    if not with_zeros and histogram.zeros:
        counts[-first] -= histogram.zeros
    filled = np.flatnonzero(counts)
    index, amounts = filled + first, counts[filled]
    if filled.size and index[-1] - index[0] >= SEARCHED_BINS:
        index, inverse = np.unique(index >> 1, return_inverse=True)
        amounts, width = np.bincount(inverse, amounts).astype(np.int64), 2 * width
    return (index + 0.5) * width, amounts, width


def _searched(cost: Cost, extremes: Range) -> Range:
    """The cheapest of the ranges around zero: first both ends shrink together, then each for itself.

    Of ranges that cost the same the widest is taken.
    """
    low, high = min(extremes.low, 0.0), max(extremes.high, 0.0)
    if low == high:
        return extremes
    best = _cheapest(cost, [Range(low * share, high * share) for share in SHARES])
    for _ in range(ROUNDS if low < 0 < high else 0):
        best = _cheapest(cost, [best, *(Range(low * share, best.high) for share in SHARES)])
        best = _cheapest(cost, [best, *(Range(best.low, high * share) for share in SHARES)])
    return _within(best, extremes)


def _cheapest(cost: Cost, candidates: list[Range]) -> Range:
    best, least = candidates[0], math.inf
    for found in candidates:
        amount = cost(found, least)
        if amount < least:
            best, least = found, amount
    return best


def _within(found: Range, extremes: Range) -> Range:
    """Not beyond the extremes: bins end where their width lets them."""
    low = min(max(found.low, extremes.low), extremes.high)
    return Range(low, max(low, min(found.high, extremes.high)))
