"""Operators that keep the values and change the shape or the order of the axes."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, ints, number

INHERITED = 0
INFERRED = -1


@computes("reshape")
def reshape(x: Tensor, shape: Tensor) -> Tensor:
    """The same elements in another shape; -1 is inferred.

    A 0 takes the size of x at the same place counted from the right, 1 where x has none (iOS 17); before,
    both ranks had to be equal, where left and right agree.
    """
    sizes = ints(shape)
    shift = x.ndim - len(sizes)
    wanted = []
    for axis, size in enumerate(sizes):
        if size == INHERITED:
            size = x.shape[axis + shift] if axis + shift >= 0 else 1
        wanted.append(size)
    if INFERRED in wanted:
        # Before reshape, since torch does not infer sizes of empty tensors.
        place = wanted.index(INFERRED)
        wanted[place] = x.numel() // (prod(wanted[:place] + wanted[place + 1 :]) or 1)
    return x.reshape(wanted)


@computes("reshape_like")
def reshape_like(
    x: Tensor,
    ref_tensors: list[Tensor] | Tensor,
    begins: list[Tensor] | Tensor,
    ends: list[Tensor] | Tensor,
    end_masks: list[Tensor] | Tensor,
) -> Tensor:
    """The shape is put together from pieces [begin, end) of the shapes of other tensors."""
    sizes: list[int] = []
    pieces = (item if isinstance(item, list) else [item] for item in (ref_tensors, begins, ends, end_masks))
    for reference, begin, end, mask in zip(*pieces, strict=True):
        stop = None if flag(mask) else int(number(end))
        sizes.extend(reference.shape[int(number(begin)) : stop])
    return x.reshape(sizes)


@computes("transpose")
def transpose(x: Tensor, perm: Tensor) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    return x.permute(ints(perm))


@computes("squeeze")
def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without axes of size 1; named axes of another size stay."""
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


@computes("expand_dims")
def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    """With axes of size 1 that are at `axes` in the result."""
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in ints(axes)):
        x = x.unsqueeze(axis)
    return x


@computes("flatten2d")
def flatten2d(x: Tensor, axis: Tensor | int = 1) -> Tensor:
    """(sizes before `axis` multiplied, sizes from `axis` on multiplied)."""
    place = int(number(axis))
    return x.reshape(prod(x.shape[:place]), prod(x.shape[place:]))


@computes("shape")
def shape(x: Tensor) -> Tensor:
    """The sizes as int32 vector."""
    return torch.tensor(x.shape, dtype=torch.int32)


@computes("identity")
def identity(x: Tensor) -> Tensor:
    """The value itself."""
    return x


@computes("tile")
def tile(x: Tensor, reps: Tensor) -> Tensor:
    """Axis i repeated reps[i] times as a whole."""
    return x.repeat(ints(reps))


@computes("depth_to_space")
def depth_to_space(x: Tensor, block_size: Tensor) -> Tensor:
    """(N, b b C, H, W) -> (N, C, H b, W b); channel (i b + j) C + c goes to row i, column j of a block."""
    block = int(number(block_size))
    n, c, h, w = x.shape
    blocks = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // block**2, h * block, w * block)


@computes("space_to_depth")
def space_to_depth(x: Tensor, block_size: Tensor) -> Tensor:
    """The inverse of depth_to_space."""
    block = int(number(block_size))
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * block**2, h // block, w // block)


@computes("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: Tensor) -> Tensor:
    """(N, C f^2, H, W) -> (N, C, H f, W f); channel c f^2 + i f + j goes to row i, column j of a block."""
    return functional.pixel_shuffle(x, int(number(upscale_factor)))


@computes("pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: Tensor) -> Tensor:
    """The inverse of pixel_shuffle."""
    return functional.pixel_unshuffle(x, int(number(downscale_factor)))


@computes("space_to_batch")
def space_to_batch(x: Tensor, block_shape: Tensor, paddings: Tensor) -> Tensor:
    """(N, C, H, W), padded with 0 -> (bh bw N, C, H / bh, W / bw); the place in the block runs slowest."""
    rows, columns = ints(block_shape)
    (top, bottom), (left, right) = paddings.tolist()
    x = functional.pad(x, (left, right, top, bottom))
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // rows, rows, w // columns, columns).permute(3, 5, 0, 1, 2, 4)
    return blocks.reshape(n * rows * columns, c, h // rows, w // columns)


@computes("batch_to_space")
def batch_to_space(x: Tensor, block_shape: Tensor, crops: Tensor) -> Tensor:
    """The inverse of space_to_batch, with crops in place of paddings."""
    rows, columns = ints(block_shape)
    (top, bottom), (left, right) = crops.tolist()
    n, c, h, w = x.shape
    n //= rows * columns
    joined = x.reshape(rows, columns, n, c, h, w).permute(2, 3, 4, 0, 5, 1)
    joined = joined.reshape(n, c, h * rows, w * columns)
    return joined[:, :, top : h * rows - bottom, left : w * columns - right]


@computes("reverse")
def reverse(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Turned round along `axes`, along all without them."""
    return x.flip(list(range(x.ndim)) if axes is None else ints(axes))


@computes("reverse_sequence")
def reverse_sequence(
    x: Tensor, lengths: Tensor, seq_axis: Tensor | int = 0, batch_axis: Tensor | int = 0
) -> Tensor:
    """The first lengths[i] elements along `seq_axis` turned round in slice i of `batch_axis`."""
    sequence, batch = int(number(seq_axis)) % x.ndim, int(number(batch_axis)) % x.ndim
    if sequence == batch:
        raise UnsupportedError("reverse_sequence: seq_axis and batch_axis are the same axis")
    if lengths.min() < 0 or lengths.max() > x.shape[sequence]:
        raise UnsupportedError(f"reverse_sequence: lengths outside of 0 to {x.shape[sequence]}")
    count = lengths.to(torch.int64)[:, None]
    place = torch.arange(x.shape[sequence])[None]
    source = torch.where(place < count, count - 1 - place, place)
    if batch > sequence:
        source = source.T
    sizes = [size if axis in (sequence, batch) else 1 for axis, size in enumerate(x.shape)]
    return x.gather(sequence, source.reshape(sizes).expand(x.shape))


@computes("sliding_windows")
def sliding_windows(x: Tensor, axis: Tensor, size: Tensor, stride: Tensor | int = 1) -> Tensor:
    """Windows along `axis`, which becomes two axes: the window and the place in it."""
    place = int(number(axis)) % x.ndim
    return x.unfold(place, int(number(size)), int(number(stride))).movedim(-1, place + 1)
