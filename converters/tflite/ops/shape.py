"""Operators that rearrange or repeat elements."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.carry import Way, reshape_ways
from toolchain.converters.tflite.layout import (
    along_axes,
    concatenation,
    elementwise,
    expansion,
    is_constant,
    reshape,
    spatial,
    transposition,
)
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.program import Op, Tensor


@lowers("Identity", layout=along_axes)
def identity(context: NodeContext) -> None:
    """Identity."""
    shape = context.out_shape()
    steps.refuse_empty(context, shape)
    context.alias(steps.reshape(context, context.input(), [shape[axis] for axis in context.perm]))


@lowers("Dropout", layout=along_axes)
def dropout(context: NodeContext) -> None:
    """Dropout of inference: the input itself, and a mask that is true everywhere."""
    if context.given(2) and context.constant(2, "training_mode").item():
        raise Refused("training_mode is true", "export the network in evaluation mode")
    context.alias(context.input())
    if len(context.node.outputs) > 1:
        shape = context.out_shape(1)
        mask = context.const(np.ones([shape[axis] for axis in context.layout.outputs[1]], bool), "mask")
        context.alias(mask, 1)


@lowers("Concat", layout=concatenation)
def concat(context: NodeContext) -> None:
    """Concat along an axis, wherever it is stored."""
    tensors = [context.input(index) for index in range(len(context.node.inputs))]
    steps.store(context, steps.concat(context, tensors, context.axis(context.int("axis"))))


@lowers("Transpose", layout=transposition)
def transpose(context: NodeContext) -> None:
    """Transpose renames the axes; a consumer that needs another order moves the data."""
    context.alias(context.input())


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze", layout=reshape)
def reshape_like(context: NodeContext) -> None:
    """Operators that keep the elements in order and change only the shape.

    Stored data is moved only where axes that are merged do not lie side by side.
    """
    x, shape = context.input(), context.out_shape()
    stored = [shape[axis] for axis in context.perm]
    if not is_constant(context.onnx(0)) and 0 not in shape:
        ways = reshape_ways(context.shape(), shape, context.input_perm)
        way = next(way for way in ways if way.perm == context.perm)
        if way.moves:
            x = _transposed(context, x, way)
    steps.store(context, steps.reshape(context, x, stored))


def _transposed(context: NodeContext, x: Tensor, way: Way) -> Tensor:
    """The parts of the stored axes in the order in which they are merged."""
    long = [axis for axis, size in enumerate(x.shape) if size != 1]
    if way.split == tuple(x.shape[axis] for axis in long):
        short = [axis for axis in range(len(x.shape)) if axis not in long]
        return steps.transpose(context, x, [*short, *(long[part] for part in way.order)])
    return steps.transpose(context, steps.reshape(context, x, way.split), way.order)


@lowers("Expand", layout=expansion)
def expand(context: NodeContext) -> None:
    """Expand as BROADCAST_TO."""
    shape = context.out_shape()
    stored = [shape[axis] for axis in context.perm]
    steps.store(context, steps.broadcast(context, context.input(), stored))


@lowers("Tile", layout=along_axes)
def tile(context: NodeContext) -> None:
    """Tile by constant repeats."""
    repeats = context.constant(1, "repeats")
    x = context.input()
    times = [int(repeats[axis]) for axis in context.input_perm]
    if all(count == 1 for count in times):
        context.alias(x)
        return
    y = steps.cast(context, x, steps.kernel_type(context, Op.TILE, x.dtype))
    shape = [size * count for size, count in zip(x.shape, times, strict=True)]
    y = steps.emit(context, Op.TILE, [y, context.int_const(times, "repeats")], shape)
    steps.store(context, steps.cast(context, y, x.dtype))


@lowers("DepthToSpace", layout=spatial)
def depth_to_space(context: NodeContext) -> None:
    """DepthToSpace; for mode CRD the channels are brought into the order of DCR first.

    DCR: channel (block row, block column, c), as TFLite has it. CRD: channel (c, block row, block column),
    as PyTorch's pixel shuffle has it.
    """
    x, block = context.input(), context.int("blocksize")
    y = steps.cast(context, x, steps.kernel_type(context, Op.DEPTH_TO_SPACE, x.dtype))
    if _is_crd(context) and block > 1:
        channels = np.arange(x.shape[3], dtype=np.int32).reshape(-1, block, block).transpose(1, 2, 0)
        y = steps.gather(context, y, context.int_const(channels, "channels"), 3)
    options = schema.DepthToSpaceOptionsT()
    options.blockSize = block
    n, c, h, w = context.out_shape()
    y = steps.emit(context, Op.DEPTH_TO_SPACE, [y], (n, h, w, c), options=options)
    steps.store(context, steps.cast(context, y, x.dtype))


def _is_crd(context: NodeContext) -> bool:
    mode = context.string("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Refused(f"mode '{mode}'", "use DCR or CRD")
    return mode == "CRD"


@lowers("SpaceToDepth", layout=spatial)
def space_to_depth(context: NodeContext) -> None:
    """SpaceToDepth; for mode CRD the channels are brought from the order of DCR into that one."""
    x, block = context.input(), context.int("blocksize")
    y = steps.cast(context, x, steps.kernel_type(context, Op.SPACE_TO_DEPTH, x.dtype))
    options = schema.SpaceToDepthOptionsT()
    options.blockSize = block
    n, c, h, w = context.out_shape()
    y = steps.emit(context, Op.SPACE_TO_DEPTH, [y], (n, h, w, c), options=options)
    if _is_crd(context) and block > 1:
        channels = np.arange(c, dtype=np.int32).reshape(block, block, -1).transpose(2, 0, 1)
        y = steps.gather(context, y, context.int_const(channels, "channels"), 3)
    steps.store(context, steps.cast(context, y, x.dtype))


@lowers("Trilu", layout=elementwise)
def trilu(context: NodeContext) -> None:
    """Trilu: zero outside of the triangle of the last two ONNX axes."""
    shape, rank = context.shape(), len(context.shape())
    offset = int(context.constant(1, "k").item()) if context.given(1) else 0
    keep = np.tri(shape[-2], shape[-1], offset, dtype=bool)
    if context.int("upper", 1):
        keep = ~np.tri(shape[-2], shape[-1], offset - 1, dtype=bool)
    places = [axis for axis in context.perm if axis >= rank - 2]
    keep = keep.T if places[0] == rank - 1 else keep
    sizes = [shape[axis] if axis >= rank - 2 else 1 for axis in context.perm]
    x = context.input()
    mask = context.const(keep.reshape(sizes), "triangle")
    steps.store(context, steps.select(context, mask, x, steps.number(context, 0, x.dtype)))
