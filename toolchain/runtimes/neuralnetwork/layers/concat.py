"""Joining, splitting and repeating tensors."""

from __future__ import annotations

from typing import Any

import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import axis_of, integers, need_rank


@computes("concat")
def concat(p: Any) -> Kernel:
    """Inputs one after another along the channels, or along the sequence (axis -5)."""
    axis = -5 if p.sequenceConcat else -3
    return lambda *inputs: torch.cat([need_rank(x, -axis) for x in inputs], axis)


@computes("concatND")
def concat_nd(p: Any) -> Kernel:
    """Inputs one after another along any axis, or interleaved."""

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        axis = axis_of(p.axis, inputs[0].ndim)
        if not p.interleave:
            return torch.cat(inputs, axis)
        return torch.stack(inputs, axis + 1).flatten(axis, axis + 1)

    return run


@computes("stack")
def stack(p: Any) -> Kernel:
    """Inputs of one shape along a new axis."""
    return lambda *inputs: torch.stack(inputs, axis_of(p.axis, inputs[0].ndim + 1))


@computes("split")
def split(p: Any) -> Kernel:
    """Equal parts of the channels."""
    return lambda x: _equal_parts(need_rank(x, 3), int(p.nOutputs), x.ndim - 3)


@computes("splitND")
def split_nd(p: Any) -> Kernel:
    """Parts along any axis, equal or of stated sizes."""
    sizes = [int(size) for size in p.splitSizes]
    if sizes:
        return lambda x: torch.split(x, sizes, axis_of(p.axis, x.ndim))
    return lambda x: _equal_parts(x, int(p.numSplits), axis_of(p.axis, x.ndim))


def _equal_parts(x: torch.Tensor, count: int, axis: int) -> tuple[torch.Tensor, ...]:
    if count < 1 or x.shape[axis] % count:
        raise UnsupportedError(f"axis {axis} of {tuple(x.shape)} cannot be split into {count} equal parts")
    return torch.split(x, x.shape[axis] // count, axis)


@computes("tile")
def tile(p: Any) -> Kernel:
    """The tensor repeated along its axes; a second input replaces the stated repetitions."""

    def run(x: torch.Tensor, given: torch.Tensor | None = None) -> torch.Tensor:
        repetitions = [int(count) for count in p.reps] if given is None else integers(given)
        if not 1 <= len(repetitions) <= x.ndim or min(repetitions) < 1:
            raise UnsupportedError(f"repetitions {repetitions} do not fit the shape {tuple(x.shape)}")
        return x.tile(repetitions)

    return run


@computes("sequenceRepeat")
def sequence_repeat(p: Any) -> Kernel:
    """The sequence, axis -5, repeated; defined here for one element, whose order is certain."""
    count = int(p.nRepetitions) or 1

    def run(x: torch.Tensor) -> torch.Tensor:
        if need_rank(x, 5).shape[-5] != 1 and count != 1:
            raise UnsupportedError(
                "repeats a sequence of several elements, in an order that is not specified"
            )
        return x.repeat_interleave(count, -5)

    return run
