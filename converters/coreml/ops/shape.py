"""Operators that rearrange or repeat elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.converters.coreml.lowering import NEURAL_NETWORK, NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.node_view import Refused


def reshaped(x: Var, shape: Sequence[int]) -> Var:
    """The elements in order in another shape; RESHAPE makes no scalars."""
    if tuple(x.shape) == tuple(shape):
        return x
    if not shape:
        return mb.squeeze(x=x, axes=list(range(x.rank)))
    return mb.reshape(x=x, shape=np.array(shape, np.int32))


def transposed(x: Var, perm: Sequence[int]) -> Var:
    """Axis i of the result is axis perm[i] of x."""
    return x if list(perm) == list(range(x.rank)) else mb.transpose(x=x, perm=list(perm))


@lowers("Identity")
def identity(context: NodeContext) -> None:
    """Identity; a graph output that needs a name of its own gets a copy in the end."""
    context.store(context.input())


@lowers("Dropout")
def dropout(context: NodeContext) -> None:
    """Dropout of inference: the input itself, and a mask that is true everywhere."""
    if context.given(2) and context.constant(2, "training_mode").item():
        raise Refused("training_mode is true", "export the network in evaluation mode")
    context.store(context.input())
    if context.is_used(1):
        mask = np.ones(context.out_shape(1), bool)
        context.store(mb.const(val=mask if mask.ndim else mask[()]), 1)


@lowers("Concat")
def concat(context: NodeContext) -> None:
    """Concat; constants without elements add nothing."""
    count = len(context.node.inputs)
    values = [context.input(index) for index in range(count) if 0 not in context.shape(index)]
    axis = context.int("axis") % len(context.out_shape())
    context.store(values[0] if len(values) == 1 else mb.concat(values=values, axis=axis))


@lowers("Transpose")
def transpose(context: NodeContext) -> None:
    """Transpose; without `perm` the axes are reversed."""
    x = context.input()
    perm = context.ints("perm", range(x.rank)[::-1])
    context.store(transposed(x, [axis % x.rank for axis in perm]))


@lowers("Reshape", "Flatten")
def reshape(context: NodeContext) -> None:
    """Reshape and Flatten: the shape is known from the graph."""
    context.store(reshaped(context.input(), context.out_shape()))


@lowers("Squeeze")
def squeeze(context: NodeContext) -> None:
    """Squeeze of the axes that are named, or of all of length 1."""
    x = context.input()
    axes = _axes(context)
    if axes is None:
        axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    places = sorted(axis % x.rank for axis in axes)
    context.store(mb.squeeze(x=x, axes=places) if places else x)


@lowers("Unsqueeze")
def unsqueeze(context: NodeContext) -> None:
    """Unsqueeze: the axes count in the result."""
    x, rank = context.input(), len(context.out_shape())
    axes = sorted(axis % rank for axis in _axes(context) or [])
    # A scalar is a vector of one element in neural networks, to which expand_dims would add axes.
    context.store(mb.expand_dims(x=x, axes=axes) if axes and x.rank else reshaped(x, context.out_shape()))


def _axes(context: NodeContext) -> list[int] | None:
    """`axes`, an input since opset 13 and an attribute before."""
    if context.ints("axes") is not None:
        return list(context.ints("axes"))
    given = context.optional_constant(1, "axes")
    return None if given is None else given.reshape(-1).tolist()


@lowers("Expand")
def expand(context: NodeContext) -> None:
    """Expand as TILE of the axes of length 1."""
    x, shape = context.input(), context.out_shape()
    sizes = [1] * (len(shape) - x.rank) + list(x.shape)
    reps = [wanted // size for wanted, size in zip(shape, sizes, strict=True)]
    context.store(tiled(reshaped(x, sizes), reps))


@lowers("Tile")
def tile(context: NodeContext) -> None:
    """Tile by constant repeats."""
    context.store(tiled(context.input(), context.constant(1, "repeats").tolist()))


def tiled(x: Var, reps: Sequence[int]) -> Var:
    """The tensor repeated along every axis."""
    return x if all(count == 1 for count in reps) else mb.tile(x=x, reps=list(reps))


@lowers("DepthToSpace")
def depth_to_space(context: NodeContext) -> None:
    """DepthToSpace. DCR: channel (block row, block column, c); CRD: (c, block row, block column).

    Integers, and CRD in neural networks for iOS 13, are moved axis by axis, with five axes at most.
    """
    x, block, crd = context.input(), context.int("blocksize"), _is_crd(context)
    if block == 1:
        context.store(x)
        return
    if context.is_float() and not crd:
        context.store(mb.depth_to_space(x=x, block_size=block))
        return
    if context.is_float() and context.goal.kind != NEURAL_NETWORK:
        context.store(mb.pixel_shuffle(x=x, upscale_factor=block))
        return
    n, c, h, w = context.shape()
    deep, area = c // block**2, block * block
    if not crd:
        x = transposed(reshaped(x, (n, area, deep, h, w)), (0, 2, 1, 3, 4))
    blocks = transposed(reshaped(x, (n * deep, block, block, h, w)), (0, 3, 1, 4, 2))
    context.store(reshaped(blocks, context.out_shape()))


def _is_crd(context: NodeContext) -> bool:
    mode = context.string("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Refused(f"mode '{mode}'", "use DCR or CRD")
    return mode == "CRD"


@lowers("SpaceToDepth")
def space_to_depth(context: NodeContext) -> None:
    """SpaceToDepth, the inverse of DepthToSpace in both modes."""
    x, block, crd = context.input(), context.int("blocksize"), _is_crd(context)
    if block == 1:
        context.store(x)
        return
    if context.is_float() and not crd:
        context.store(mb.space_to_depth(x=x, block_size=block))
        return
    if context.is_float() and context.goal.kind != NEURAL_NETWORK and context.goal.ios >= 16:
        context.store(mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(block)))
        return
    n, c, h, w = context.shape()
    rows, columns, area = h // block, w // block, block * block
    y = transposed(reshaped(x, (n * c, rows, block, columns, block)), (0, 2, 4, 1, 3))
    if not crd:
        y = transposed(reshaped(y, (n, c, area, rows, columns)), (0, 2, 1, 3, 4))
    context.store(reshaped(y, context.out_shape()))


@lowers("Trilu")
def trilu(context: NodeContext) -> None:
    """Trilu as SELECT: masks of attention hold infinities, which no product with 0 removes."""
    shape = context.shape()
    offset = int(context.constant(1, "k").item()) if context.given(1) else 0
    upper = bool(context.int("upper", 1))
    triangle = np.tri(shape[-2], shape[-1], offset - upper, dtype=bool)
    keep = (triangle ^ upper).reshape(*(1,) * (len(shape) - 2), *shape[-2:])
    context.store(mb.select(cond=keep, a=context.input(), b=context.computed_dtype().type(0)))
