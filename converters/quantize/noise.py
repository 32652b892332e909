"""Predicts what int8 values and weights do to the outputs of the operators that read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import is_op
from toolchain.converters.quantize.channel_statistics import ChannelStatistics
from toolchain.converters.quantize.scale_groups import ScaleGroup, channelwise, input_channels
from toolchain.converters.quantize.scheme import FUSED, FUSING, SAME_SCALE, STEPS, WEIGHT_MOST

if TYPE_CHECKING:
    from torch import Tensor

Statistics = dict[str, ChannelStatistics]

SHARPNESS = 40.0
"""Of the smooth maximum that stands for the largest channel while factors are fitted."""


class Predictor:
    """Noise of a group as a function of what its channels are divided by and moved by.

    The noise is the sum over the readers of the mean over a reader's output channels, each relative to its
    own variance. A number rounded in steps of d has a squared error of d^2 / 12; errors are independent.

    Args:
        group: the values.
        known: figures of its values and of its readers' outputs.
    """

    def __init__(self, group: ScaleGroup, known: Statistics) -> None:
        import torch

        self.readers = [_Reader(node, known, group.channels) for node in group.consumers]
        sensitivity = _sensitivities(group, self.readers)
        self.figures = [
            (
                value,
                torch.from_numpy(known[value.name or ""].low),
                torch.from_numpy(known[value.name or ""].high),
                torch.from_numpy(sensitivity[value]),
            )
            for value in group.values
            if _is_stored(value)
        ]
        sizes = np.max([reader.sizes(group.channels) for reader in self.readers], axis=0)
        self.sizes = np.maximum(sizes, 1e-6 * sizes.max(initial=1e-30))

    def noise(self, factors: Tensor, offsets: dict[ir.Value, Tensor]) -> tuple[Tensor, Tensor]:
        """Predicted noise with channels (x - offset) / factor.

        Args:
            factors: (channels,) float64.
            offsets: value -> (channels,), of the values that are moved.

        Returns:
            the noise, and the same with a differentiable maximum in place of that over the channels.
        """
        exact = sum((r.weight_noise(factors, offsets) for r in self.readers), start=factors.new_zeros(()))
        smooth = exact
        for value, low, high, weight in self.figures:
            moved = offsets.get(value)
            if moved is not None:
                low, high = low - moved, high - moved
            gain = (weight * factors**2).sum() / (12 * STEPS**2)
            tops, smooth_tops = zip(_largest(high / factors), _largest(-low / factors), strict=True)
            exact = exact + sum(tops) ** 2 * gain.detach()
            smooth = smooth + sum(smooth_tops) ** 2 * gain
        return exact.detach(), smooth


def _largest(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The largest number, 0 at least, and a smooth form of it."""
    top = numbers.detach().max().clamp_min(0)
    if float(top) == 0:
        return top, numbers.max().clamp_min(0)
    size = top / SHARPNESS
    return top, (numbers / size).logsumexp(0) * size


class _Reader:
    """What an operator's weights make of noise in its input."""

    def __init__(self, node: ir.Node, known: Statistics, channels: int) -> None:
        import torch

        self.source = node.inputs[0]
        self.weights, self.channel = input_channels(node)
        variance = known[node.outputs[0].name or ""].variance
        self.power = np.maximum(variance, 1e-4 * variance.mean() + 1e-30)
        self.most = np.abs(self.weights).max(axis=2).astype(np.float64)
        found = known[self.source.name or ""]  # type: ignore[union-attr]
        # Channels of a group follow each other, and so do the outputs that read them.
        self.groups = channels // self.channel.shape[1]
        most = self.most.reshape(self.groups, -1, self.channel.shape[1])
        power = self.power.reshape(self.groups, -1)
        arrays = (most, power, found.mean, found.mean_square)
        self.tensors = tuple(torch.from_numpy(array) for array in arrays)

    def sensitivity(self, channels: int) -> np.ndarray:
        """Output noise for noise of variance 1 in each input channel."""
        gains = np.square(self.weights, dtype=np.float64).sum(axis=2) / self.power[:, None] / len(self.power)
        return np.bincount(self.channel.ravel(), gains.ravel(), minlength=channels)

    def sizes(self, channels: int) -> np.ndarray:
        """The largest weight that reads each channel, relative to the output that it goes into."""
        found = np.zeros(channels)
        np.maximum.at(found, self.channel, self.most / np.sqrt(self.power)[:, None])
        return found

    def weight_noise(self, factors: Tensor, offsets: dict[ir.Value, Tensor]) -> Tensor:
        """Output noise that rounded weights make."""
        most, power, mean, square = self.tensors
        moved = offsets.get(self.source)  # type: ignore[arg-type]
        if moved is not None:
            square = square - 2 * moved * mean + moved**2
        by_group = factors.reshape(self.groups, 1, -1)
        # Only the largest weight of an output counts: there is no gradient through the others.
        place = (most * by_group.detach()).argmax(dim=2, keepdim=True)
        sizes = most.gather(2, place) * by_group.expand(most.shape).gather(2, place)
        steps = sizes.squeeze(2) / WEIGHT_MOST
        squares = (square / factors**2).reshape(self.groups, -1).sum(dim=1) * self.weights.shape[2]
        return (steps**2 / 12 * squares[:, None] / power).mean()


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
