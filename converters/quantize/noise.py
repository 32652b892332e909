"""Predicts what int8 values and weights do to the outputs of the operators that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import is_op
from toolchain.converters.quantize.channel_statistics import ChannelStatistics
from toolchain.converters.quantize.scale_groups import ScaleGroup, channelwise, input_channels
from toolchain.converters.quantize.scheme import FUSED, FUSING, SAME_SCALE, STEPS, WEIGHT_MOST

Statistics = dict[str, ChannelStatistics]

SHARPNESS = 40.0
"""Of the smooth maximum that stands for the largest channel while factors are fitted."""


class Noise(NamedTuple):
    """Predicted noise and its slopes.

    Attributes:
        exact: the noise.
        smooth: the same with a differentiable maximum in place of that over the channels.
        by_log_factor: derivatives of `smooth` by the logarithms of the factors, (channels,).
        by_offset: derivatives of `smooth` by the offsets of the sources, (sources, channels).
    """

    exact: float
    smooth: float
    by_log_factor: np.ndarray
    by_offset: np.ndarray


class Predictor:
    """Noise of a group as a function of what its channels are divided by and moved by.

    The noise is the sum over the readers of the mean over a reader's output channels, each relative to its
    own variance. A number rounded in steps of d has a squared error of d^2 / 12; errors are independent.

    Args:
        group: the values.
        known: figures of its values and of its readers' outputs.
        shares: value -> what each source's offset counts for in its own, (sources,); those not there stay.
        sources: how many sources of offsets there are.
    """

    def __init__(
        self, group: ScaleGroup, known: Statistics, shares: Mapping[ir.Value, np.ndarray], sources: int
    ) -> None:
        readers = [_Reader(node, known, group.channels) for node in group.consumers]
        still = np.zeros(sources)
        stacks: dict[int, list[_Reader]] = {}
        for reader in readers:
            stacks.setdefault(reader.groups, []).append(reader)
        self._stacks = [
            _Stack(found, np.stack([shares.get(reader.source, still) for reader in found]))
            for found in stacks.values()
        ]
        sensitivity = _sensitivities(group, readers)
        stored = [value for value in group.values if _is_stored(value)]
        self._low, self._high, self._weight = (
            np.array([figures(value) for value in stored]).reshape(len(stored), group.channels)
            for figures in (
                lambda value: known[value.name or ""].low,
                lambda value: known[value.name or ""].high,
                lambda value: sensitivity[value],
            )
        )
        self._shares = np.array([shares.get(value, still) for value in stored]).reshape(len(stored), sources)
        sizes = np.max([reader.sizes(group.channels) for reader in readers], axis=0)
        self.sizes = np.maximum(sizes, 1e-6 * sizes.max(initial=1e-30))

    def noise(self, factors: np.ndarray, offsets: np.ndarray) -> Noise:
        """Predicted noise with channels (x - offset) / factor.

        Args:
            factors: (channels,) float64.
            offsets: of the sources, (sources, channels) float64.
        """
        found = [stack.noise(factors, offsets) for stack in self._stacks]
        found.append(self._value_noise(factors, offsets))
        return Noise(*(sum(parts) for parts in zip(*found, strict=True)))  # type: ignore[arg-type]

    def _value_noise(self, factors: np.ndarray, offsets: np.ndarray) -> Noise:
        """Output noise that rounded values make: with one step for all channels, that of the widest."""
        moved = self._shares @ offsets
        above, below = (self._high - moved) / factors, (moved - self._low) / factors
        tops, smooth_tops, top_slopes = _largest(above)
        ends, smooth_ends, end_slopes = _largest(below)
        gains = self._weight * factors**2 / (12 * STEPS**2)
        gain, span = gains.sum(axis=1), smooth_tops + smooth_ends
        by_span = (2 * gain * span)[:, None]
        by_factor = 2 * gains * (span**2)[:, None] - by_span * (top_slopes * above + end_slopes * below)
        by_offset = by_span * (end_slopes - top_slopes) / factors
        return Noise(
            float(((tops + ends) ** 2 * gain).sum()),
            float((span**2 * gain).sum()),
            by_factor.sum(axis=0),
            self._shares.T @ by_offset,
        )


def _largest(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest number of each row, 0 at least, a smooth form of it, and the slopes of that."""
    top = numbers.max(axis=1).clip(0)
    size = np.where(top > 0, top / SHARPNESS, 1.0)[:, None]
    powers = np.exp((numbers - top[:, None]) / size)
    total = powers.sum(axis=1, keepdims=True)
    smooth = top + np.where(top > 0, (size * np.log(total))[:, 0], 0.0)
    return top, smooth, np.where(top[:, None] > 0, powers / total, 0.0)


class _Reader:
    """What an operator's weights make of noise in its input."""

    def __init__(self, node: ir.Node, known: Statistics, channels: int) -> None:
        assert node.inputs[0] is not None
        self.source = node.inputs[0]
        self.weights, self.channel = input_channels(node)
        variance = known[node.outputs[0].name or ""].variance
        self.power = np.maximum(variance, 1e-4 * variance.mean() + 1e-30)
        self.most = np.abs(self.weights).max(axis=2)
        self.figures = known[self.source.name or ""]
        # Channels of a group follow each other, and so do the outputs that read them.
        self.groups = channels // self.channel.shape[1]

    def sensitivity(self, channels: int) -> np.ndarray:
        """Output noise for noise of variance 1 in each input channel."""
        gains = np.einsum("oik,oik->oi", self.weights, self.weights, dtype=np.float64)
        gains /= self.power[:, None] * len(self.power)
        return np.bincount(self.channel.ravel(), gains.ravel(), minlength=channels)

    def sizes(self, channels: int) -> np.ndarray:
        """The largest weight that reads each channel, relative to the output that it goes into."""
        each = (self.most / np.sqrt(self.power)[:, None]).reshape(self.groups, -1, self.channel.shape[1])
        return each.max(axis=1).reshape(channels)


class _Stack:
    """The weights of readers that divide the channels into as many groups, one reader after the other."""

    def __init__(self, readers: Sequence[_Reader], shares: np.ndarray) -> None:
        groups = readers[0].groups

        def joined(arrays: list[np.ndarray]) -> np.ndarray:
            return np.concatenate([array.reshape(groups, -1, *array.shape[1:]) for array in arrays], axis=1)

        self.most = joined([reader.most for reader in readers]).astype(np.float32)
        self.share = joined([1 / (12 * WEIGHT_MOST**2 * len(r.power) * r.power) for r in readers])
        counts = [len(reader.power) // groups for reader in readers]
        self.reader = np.repeat(np.arange(len(readers)), counts)
        self.first = np.cumsum([0, *counts[:-1]])
        kernels = np.array([[reader.weights.shape[2]] for reader in readers], np.float64)
        self.mean = np.stack([reader.figures.mean for reader in readers]) * kernels
        self.square = np.stack([reader.figures.mean_square for reader in readers]) * kernels
        self.kernels, self.shares = kernels, shares
        _, outputs, each = self.most.shape
        self.rows = np.arange(groups * outputs) * each
        self.channels = np.repeat(np.arange(groups) * each, outputs)

    def noise(self, factors: np.ndarray, offsets: np.ndarray) -> Noise:
        """Output noise that rounded weights make: the largest of an output sets the step of all of them."""
        groups, _, each = self.most.shape
        square, slope = self.square, -2 * self.mean
        if self.shares.any():
            moved = self.shares @ offsets
            square = square + moved * (slope + self.kernels * moved)
            slope = slope + 2 * self.kernels * moved
        ratio = square / factors**2
        powers = ratio.reshape(-1, groups, each).sum(axis=2)
        weighted = self.most * factors.astype(np.float32).reshape(groups, 1, each)
        # Only the largest weight of an output counts: there is no slope by the others.
        place = weighted.reshape(-1, each).argmax(axis=1)
        largest = weighted.reshape(-1)[self.rows + place].astype(np.float64)
        steps = largest.reshape(self.share.shape) ** 2 * self.share
        noise = steps * powers.T[:, self.reader]
        by_reader = np.add.reduceat(steps, self.first, axis=1).T
        by_factor = 2 * np.bincount(self.channels + place, noise.ravel(), minlength=factors.size)
        by_channel = by_reader if groups == 1 or each == 1 else np.repeat(by_reader, each, axis=1)
        total = float(noise.sum())
        return Noise(
            total,
            total,
            by_factor - 2 * (by_channel * ratio).sum(axis=0),
            self.shares.T @ (by_channel * slope / factors**2),
        )


def _sensitivities(group: ScaleGroup, readers: list[_Reader]) -> dict[ir.Value, np.ndarray]:
    """Output noise of all readers for noise of variance 1 in each channel of each value."""
    inside = set(group.values)
    found = {value: np.zeros(group.channels) for value in group.values}
    by_node = dict(zip(group.consumers, readers, strict=True))
    for value in reversed(group.values):
        for use in value.uses():
            if use.node in by_node:
                found[value] += by_node[use.node].sensitivity(group.channels)
            elif use.node.outputs[0] in inside and channelwise(use.node):
                found[value] += found[use.node.outputs[0]]
    return found


def _is_stored(value: ir.Value) -> bool:
    """Whether the value is rounded: not inside a fused operator, not a copy with the same scale."""
    producer, uses = value.producer(), list(value.uses())
    if producer is None or is_op(producer, *SAME_SCALE):
        return False
    return not (len(uses) == 1 and is_op(uses[0].node, *FUSED) and is_op(producer, *FUSING))
