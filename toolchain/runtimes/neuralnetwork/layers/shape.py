"""Layers that change only the shape or the order of the elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import (
    at_least_1d,
    axis_of,
    enum_name,
    integers,
    need_rank,
    per_picture,
)

RANK5 = 5


@computes("reshapeStatic")
def reshape_static(p: Any) -> Kernel:
    """The elements in row-major order in a stated shape; -1 is inferred."""
    shape = [int(size) for size in p.targetShape]
    return lambda x: x.reshape(shape)


@computes("reshapeLike")
def reshape_like(p: Any) -> Kernel:
    """The elements of the first input in the shape of the second."""
    return lambda x, like: x.reshape(like.shape)


@computes("reshapeDynamic")
def reshape_dynamic(p: Any) -> Kernel:
    """The elements of the first input in the shape that the second input lists."""
    return lambda x, shape: x.reshape(integers(shape))


@computes("rankPreservingReshape")
def rank_preserving_reshape(p: Any) -> Kernel:
    """A reshape to as many axes; 0 keeps an axis, -1 is inferred."""

    def run(x: torch.Tensor) -> torch.Tensor:
        if len(p.targetShape) != x.ndim:
            raise UnsupportedError(f"the target {list(p.targetShape)} has not the rank of {tuple(x.shape)}")
        return x.reshape([size or x.shape[axis] for axis, size in enumerate(p.targetShape)])

    return run


@computes("flatten")
def flatten(p: Any) -> Kernel:
    """[..., C, H, W] to [..., C * H * W, 1, 1], channel-first or channel-last."""
    channel_last = enum_name(p, "mode") == "CHANNEL_LAST"

    def run(x: torch.Tensor) -> torch.Tensor:
        x = need_rank(x, 3).movedim(-3, -1) if channel_last else need_rank(x, 3)
        return x.flatten(-3)[..., None, None]

    return run


@computes("flattenTo2D")
def flatten_to_2d(p: Any) -> Kernel:
    """A matrix: the axes before `axis`, and the others."""

    def run(x: torch.Tensor) -> torch.Tensor:
        axis = p.axis + x.ndim if p.axis < 0 else p.axis
        if not 0 <= axis <= x.ndim:
            raise UnsupportedError(f"axis {p.axis} does not exist in rank {x.ndim}")
        return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))

    return run


@computes("reshape")
def reshape(p: Any) -> Kernel:
    """A reshape of [Seq, B, C, H, W], channel-first or channel-last."""
    target = [int(size) for size in p.targetShape]
    if len(target) not in (3, 4):
        raise UnsupportedError(f"the target has 3 or 4 sizes, not {target}")
    channel_last = enum_name(p, "mode") == "CHANNEL_LAST"

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.ndim != RANK5 or x.shape[1] != 1:
            raise UnsupportedError(f"takes [Seq, 1, C, H, W], got {tuple(x.shape)}")
        sequence = x.shape[0] if len(target) == 3 else target[0]
        channels, height, width = target[-3:]
        if not channel_last:
            return x.reshape(sequence, 1, channels, height, width)
        return x.movedim(-3, -1).reshape(sequence, 1, height, width, channels).movedim(-1, -3)

    return run


@computes("permute")
def permute(p: Any) -> Kernel:
    """The axes Seq, C, H, W of [Seq, B, C, H, W] in another order."""
    order = [int(axis) for axis in p.axis] or [0, 1, 2, 3]
    if sorted(order) != [0, 1, 2, 3]:
        raise UnsupportedError(f"{order} is not a permutation of four axes")
    place = (0, 2, 3, 4)
    axes = [place[order[0]], 1, *(place[axis] for axis in order[1:])]

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.ndim != RANK5:
            raise UnsupportedError(f"takes [Seq, B, C, H, W], got {tuple(x.shape)}")
        return x.permute(axes)

    return run


@computes("transpose")
def transpose(p: Any) -> Kernel:
    """Axes in another order."""
    axes = [int(axis) for axis in p.axes]
    return lambda x: x.permute(axes)


@computes("expandDims")
def expand_dims(p: Any) -> Kernel:
    """New axes of size 1, counted in the result."""

    def run(x: torch.Tensor) -> torch.Tensor:
        rank = x.ndim + len(p.axes)
        axes = sorted(axis_of(axis, rank) for axis in p.axes)
        if len(set(axes)) != len(axes):
            raise UnsupportedError(f"an axis is named twice in {list(p.axes)}")
        for axis in axes:
            x = x.unsqueeze(axis)
        return x

    return run


@computes("squeeze")
def squeeze(p: Any) -> Kernel:
    """The tensor without axes of size 1; one axis always stays."""

    def run(x: torch.Tensor) -> torch.Tensor:
        if p.squeezeAll:
            return at_least_1d(x.squeeze())
        axes = [axis_of(axis, x.ndim) for axis in p.axes]
        if any(x.shape[axis] != 1 for axis in axes):
            raise UnsupportedError(f"axes {axes} of {tuple(x.shape)} are not all of size 1")
        return at_least_1d(x.squeeze(axes)) if axes else x

    return run


@computes("getShape")
def get_shape(p: Any) -> Kernel:
    """The shape as a vector."""
    return lambda x: torch.tensor(x.shape, dtype=torch.float32)


@computes("reorganizeData")
def reorganize_data(p: Any) -> Kernel:
    """Blocks of pixels to channels, or back."""
    block = int(p.blockSize)
    if block < 2:
        raise UnsupportedError(f"blockSize {block} is less than 2")
    functions = {
        "SPACE_TO_DEPTH": _space_to_depth,
        "DEPTH_TO_SPACE": _depth_to_space,
        "PIXEL_SHUFFLE": F.pixel_shuffle,
    }
    function = functions[enum_name(p, "mode")]
    return per_picture(lambda x: function(x, block))


def _space_to_depth(x: torch.Tensor, block: int) -> torch.Tensor:
    """Channel (row * block + column) * C + c holds the pixels at that place of each block."""
    count, channels, height, width = x.shape
    blocks = x.reshape(count, channels, height // block, block, width // block, block)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(count, -1, height // block, width // block)


def _depth_to_space(x: torch.Tensor, block: int) -> torch.Tensor:
    count, channels, height, width = x.shape
    blocks = x.reshape(count, block, block, channels // block**2, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(count, -1, height * block, width * block)


@computes("reverse")
def reverse(p: Any) -> Kernel:
    """Axes in reverse order."""
    return lambda x: x.flip([axis for axis, flag in enumerate(_flags(p.reverseDim, x.ndim)) if flag])


def _flags(flags: Sequence[bool], rank: int) -> Sequence[bool]:
    if len(flags) != rank:
        raise UnsupportedError(f"{len(flags)} flags do not fit rank {rank}")
    return flags


@computes("reverseSeq")
def reverse_sequence(p: Any) -> Kernel:
    """The first lengths[b] elements of each sequence in reverse order."""

    def run(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        batch, sequence = axis_of(p.batchAxis, x.ndim), axis_of(p.sequenceAxis, x.ndim)
        moved = x.movedim((batch, sequence), (0, 1))
        place = torch.arange(moved.shape[1])[None, :]
        length = lengths.reshape(-1, 1).long()
        source = torch.where(place < length, length - 1 - place, place)
        rows = torch.arange(moved.shape[0])[:, None]
        return moved[rows, source].movedim((0, 1), (batch, sequence))

    return run


@computes("slidingWindows")
def sliding_windows(p: Any) -> Kernel:
    """All windows of a size along an axis, as a new axis after it."""

    def run(x: torch.Tensor) -> torch.Tensor:
        axis = axis_of(p.axis, x.ndim)
        return x.unfold(axis, int(p.windowSize), int(p.step)).movedim(-1, axis + 1)

    return run
