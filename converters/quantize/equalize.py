"""Scale and move channels so that one int8 scale fits all: the network computes the same and rounds less."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.affine import absorb_affine, scaled
from toolchain.converters.graph.rewrite import add_initializer, attribute, constant, graph_of
from toolchain.converters.quantize.channel_statistics import (
    ChannelStatistics,
    Sample,
    channel_statistics,
)
from toolchain.converters.quantize.noise import Predictor
from toolchain.converters.quantize.offsets import apply_offsets, offset_sources, spread
from toolchain.converters.quantize.scale_groups import ScaleGroup, input_channels, scale_groups, upper_bound

HEADROOM = 1.1
"""Below the bound of a Clip, a channel keeps room for values that many times its calibrated maximum."""

GAIN = 0.98
"""Groups whose predicted noise does not fall to this share stay as they are."""

RANGE_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
WEIGHT_POWERS = (0.0, 0.25, 0.5)

STEPS = 60
RATE = 0.1
# Of Adam: how much of the slopes, of their squares, and of nothing it keeps.
MOMENTUM, MEMORY, TINY = 0.9, 0.999, 1e-8

Statistics = dict[str, ChannelStatistics]


@dataclass(frozen=True)
class Rescaled:
    """What became of a value: (x - offset) / factor in each channel.

    Attributes:
        low, high: its smallest and largest number on the samples.
        factors, offset: (channels,) float64.
    """

    low: float
    high: float
    factors: np.ndarray
    offset: np.ndarray

    def of(self, numbers: np.ndarray, channels: np.ndarray | slice = slice(None)) -> np.ndarray:
        """What numbers of these channels became, in their own type."""
        offset, factors = (array.astype(numbers.dtype) for array in (self.offset, self.factors))
        return (numbers - offset[channels]) / factors[channels]


def equalize(
    model: ir.Model, samples: Iterable[Sample], statistics: Statistics | None = None
) -> dict[str, Rescaled]:
    """Divide channels by factors and move them by offsets so that rounding to int8 harms least, in place.

    ::

        x -> Conv(W, b) -> Relu -> Conv(V) -> y      x -> Conv(W / s, b / s) -> Relu -> Conv(V * s) -> y
        x -> Conv(W, b) -> Add(u) -> Conv(V, d)      x -> Conv(W, b - c) -> Add(u) -> Conv(V, d + V c)

    1. Values that operators connect for which f(x / s) = f(x) / s (activations, pools, resizes, residual
       sums; see `scale_groups`) share one factor for each channel: expanded, depthwise and projected channels
       of inverted residuals as well as the sums between them.
    2. Values that no activation and no padded convolution reads are moved as well (see `offset_sources`), so
       that the channels lie around the same middle.
    3. Factors and offsets minimize the noise predicted at the operators that read the group: that of int8
       activations with one scale for all channels, and that of int8 weights with one scale for each output
       channel. The search starts at the best of s = r^a / w^b, with r the ranges of the channels and w the
       sizes of the weights that read them (a = 1, b = 0: equal ranges; a = b = 1/2: cross-layer
       equalization), and goes on by gradient descent.
    4. A Clip from 0 to a bound (ReLU6) stays. A channel that comes within 10 % of the bound on the samples
       keeps its factor 1. Another one is scaled up so far at most that 1.1 times its calibrated maximum
       meets the bound. So the float function is the same where no channel exceeds 1.1 times its calibrated
       maximum; without Clip it is the same everywhere.

    Sources: Nagel et al. 2019 (arXiv:1906.04721), section 4.1; with ranges of activations in place of those
    of the first weights, as in arXiv:2211.10438, since scales for each output channel already equalize these.

    Args:
        model: a cleaned graph.
        samples: calibration samples; not read when `statistics` are given.
        statistics: figures of the values that `equalized_values` lists; kept up to date.

    Returns:
        Each value that was changed; empty when nothing was.
    """
    known = channel_statistics(model, equalized_values(model), samples) if statistics is None else statistics
    changed: dict[str, Rescaled] = {}
    for group in scale_groups(model.graph):
        fitted = _fit(group, known) if _finite(group, known) else None
        if fitted is None:
            continue
        factors, offsets = fitted
        apply_offsets(group, offsets)
        for node in group.producers:
            absorb_affine(node, 1.0 / factors, None)
        for node in group.consumers:
            _scale_inputs(node, factors)
        for value in group.values:
            name = value.name or ""
            offset = offsets.get(value, np.zeros(group.channels))
            known[name] = found = _changed(known[name], factors, offset)
            changed[name] = Rescaled(float(found.low.min()), float(found.high.max()), factors, offset)
    return changed


def equalized_values(model: ir.Model) -> dict[str, int]:
    """Names and channel axes of the values whose figures `equalize` needs."""
    names: dict[str, int] = {}
    for group in scale_groups(model.graph):
        ends = [node.outputs[0] for node in group.consumers]
        names.update({value.name: 1 for value in (*group.values, *ends) if value.name})
    return names


def _finite(group: ScaleGroup, known: Statistics) -> bool:
    read = [*group.values, *(node.outputs[0] for node in group.consumers)]
    figures = (known[value.name or ""] for value in read)
    return all(np.isfinite([found.low, found.high, found.mean_square]).all() for found in figures)


def _fit(group: ScaleGroup, known: Statistics) -> tuple[np.ndarray, dict[ir.Value, np.ndarray]] | None:
    """Factors, and offsets of all values that have one; None where no gain is predicted."""
    sources, movable = offset_sources(group)
    count = len(sources)
    shares = spread(group, movable, dict(zip(sources, np.eye(count), strict=True)))
    predictor = Predictor(group, known, shares, count)
    low, high = _limits(group, known)
    still = np.zeros((count, group.channels))
    widths = [(known[v.name or ""].high - known[v.name or ""].low).max() for v in sources]
    units = np.array(widths).reshape(count, 1)
    least = predictor.noise(np.ones(group.channels), still).exact * GAIN
    best: tuple[np.ndarray, np.ndarray] | None = None
    starts = [start.clip(low, high) for start in _starts(group, known, predictor.sizes)]
    start = min(starts, key=lambda factors: predictor.noise(factors, still).exact)
    place, descent = np.concatenate([np.log(start)[None], still]), _Descent()
    for _ in range(STEPS):
        free = np.exp(place[0])
        factors, offsets = free.clip(low, high), place[1:] * units
        found = predictor.noise(factors, offsets)
        if found.exact < least:
            least, best = found.exact, (factors, offsets)
        slopes = np.concatenate([(found.by_log_factor * (factors == free))[None], found.by_offset * units])
        place = place - descent.step(slopes / found.smooth)
    if best is None:
        return None
    return best[0], {value: share @ best[1] for value, share in shares.items()}


class _Descent:
    """Steps of Adam (Kingma and Ba 2015, arXiv:1412.6980), whose rate falls along a cosine to a hundredth."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: np.ndarray | float = 0.0
        self._square: np.ndarray | float = 0.0

    def step(self, slopes: np.ndarray) -> np.ndarray:
        """What to subtract."""
        share = (1 + math.cos(math.pi * self._count / STEPS)) / 2
        rate = RATE * (0.01 + 0.99 * share)
        self._count += 1
        self._mean = MOMENTUM * self._mean + (1 - MOMENTUM) * slopes
        self._square = MEMORY * self._square + (1 - MEMORY) * slopes**2
        mean = self._mean / (1 - MOMENTUM**self._count)
        square = self._square / (1 - MEMORY**self._count)
        return rate * mean / (np.sqrt(square) + TINY)


def _starts(group: ScaleGroup, known: Statistics, sizes: np.ndarray) -> list[np.ndarray]:
    """Candidates r^a / w^b, the largest 1."""
    figures = [known[value.name or ""] for value in group.values]
    reach = np.stack([np.maximum(np.abs(found.low), np.abs(found.high)) for found in figures])
    largest = reach.max(axis=1, keepdims=True)
    alive = (reach > 1e-6 * largest).any(axis=0)
    ranges = np.maximum(reach / np.maximum(largest, 1e-30), 1e-6).max(axis=0)
    made = []
    for range_power in RANGE_POWERS:
        for weight_power in WEIGHT_POWERS:
            factors = ranges**range_power / sizes**weight_power
            factors = np.where(alive, factors / factors[alive].max(initial=1e-30), 1.0)
            made.append(np.maximum(factors, 1e-4))
    return made


def _changed(found: ChannelStatistics, factors: np.ndarray, offset: np.ndarray) -> ChannelStatistics:
    square = found.mean_square - 2 * offset * found.mean + offset**2
    return ChannelStatistics(
        (found.low - offset) / factors,
        (found.high - offset) / factors,
        (found.mean - offset) / factors,
        square / factors**2,
    )


def _limits(group: ScaleGroup, known: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest factors that keep every Clip of the group from changing what it computes."""
    low, high = np.full(group.channels, 1e-6), np.full(group.channels, 1e6)
    for node in group.clips:
        bound = upper_bound(node)
        assert bound is not None
        share = known[node.outputs[0].name or ""].high * HEADROOM / bound
        low = np.maximum(low, np.minimum(share, 1.0))
        high = np.where(share >= 1.0, 1.0, high)
    return low, high


def _scale_inputs(node: ir.Node, factors: np.ndarray) -> None:
    weights = constant(node.inputs[1])
    assert weights is not None
    if node.op_type == "Gemm":
        factor = factors.reshape((1, -1) if attribute(node, "transB", 0) else (-1, 1))
    elif node.op_type == "ConvTranspose":
        factor = factors.reshape(-1, *[1] * (weights.ndim - 1))
    else:
        _, channel = input_channels(node)
        factor = factors[channel].reshape(*channel.shape, *[1] * (weights.ndim - 2))
    name = node.inputs[1].name or f"{node.name}.weight"  # type: ignore[union-attr]
    node.replace_input_with(1, add_initializer(graph_of(node), scaled(weights, factor), name))
