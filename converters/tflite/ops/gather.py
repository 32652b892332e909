"""Elements read from, or written to, places that are given by indices."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from toolchain.converters.tflite.layout import gathering
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.slice import part
from toolchain.converters.tflite.program import Op, Tensor


def places(context: NodeContext, index: int, sizes: int | Sequence[int]) -> Tensor:
    """The indices of an input as int32 and counted from the start.

    Args:
        context: node being lowered.
        index: which input.
        sizes: length of the axis that is indexed; one per element of the last axis of the indices.
    """
    value = context.onnx(index)
    lengths = np.asarray(sizes, np.int32)
    if value.const_value is not None:
        given = value.const_value.numpy()
        if ((given < -lengths) | (given >= lengths)).any():
            raise Refused(f"indices beyond the axis of length {lengths.tolist()}", "correct the indices")
        return context.const(np.where(given < 0, given + lengths, given).astype(np.int32), "places")
    found = steps.cast(context, context.input(index), np.int32)
    return steps.binary(context, Op.FLOOR_MOD, found, context.const(lengths, "lengths"))


@lowers("Gather", layout=gathering)
def gather(context: NodeContext) -> None:
    """Gather; constant neighbouring indices as SLICE. Negative indices count from the end."""
    x = context.input()
    axis = context.axis(context.int("axis", 0))
    value = context.onnx(1)
    found = places(context, 1, x.shape[axis])
    shape = context.out_shape()
    stored = [shape[axis] for axis in context.perm]
    if value.const_value is not None and found.data is not None and found.data.size:
        chosen = found.data.reshape(-1)
        if (chosen == np.arange(chosen[0], chosen[0] + chosen.size)).all():
            ranges = [range(size) for size in x.shape]
            ranges[axis] = range(int(chosen[0]), int(chosen[0]) + chosen.size)
            steps.store(context, steps.reshape(context, part(context, x, ranges), stored))
            return
    steps.store(context, steps.reshape(context, steps.gather(context, x, found, axis), stored))


def _strides(shape: Sequence[int]) -> list[int]:
    """Elements between neighbours along each axis of a tensor in plain order."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _flat_elements(context: NodeContext, found: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    """Places of single elements in the flattened tensor: the index replaces the coordinate of one axis."""
    strides = _strides(shape)
    coordinates = np.indices(found.shape, sparse=True)
    base = sum(
        (coordinates[other] * strides[other] for other in range(len(shape)) if other != axis),
        start=np.zeros((1,) * len(shape), np.int64),
    )
    base = np.broadcast_to(base, found.shape).astype(np.int32)
    if found.data is not None:
        return context.const(found.data * np.int32(strides[axis]) + base, "flat")
    scaled = steps.binary(context, Op.MUL, found, strides[axis])
    return steps.binary(context, Op.ADD, scaled, context.const(base, "base"))


@lowers("GatherElements")
def gather_elements(context: NodeContext) -> None:
    """GatherElements as GATHER from the flattened tensor."""
    shape = context.shape()
    axis = context.int("axis", 0) % len(shape)
    flat = _flat_elements(context, places(context, 1, shape[axis]), shape, axis)
    x = steps.reshape(context, context.input(), (prod(shape),))
    steps.store(context, steps.gather(context, x, flat, 0))


def _flat_rows(context: NodeContext, index: int, shape: Sequence[int], batch: int = 0) -> Tensor:
    """Row numbers that tuples of indices stand for, in the tensor flattened to (rows, row).

    Args:
        context: node being lowered.
        index: the input with the tuples on its last axis.
        shape: shape of the indexed tensor.
        batch: leading axes that the indices share with the tensor.
    """
    tuples = context.shape(index)
    depth = tuples[-1]
    sizes = shape[batch : batch + depth]
    found = places(context, index, sizes)
    strides = np.array(_strides(sizes), np.int32)
    base = np.arange(prod(shape[:batch]), dtype=np.int32) * np.int32(prod(sizes))
    base = base.reshape(*shape[:batch], *(1,) * (len(tuples) - 1 - batch))
    if found.data is not None:
        return context.const((found.data * strides).sum(-1, dtype=np.int32) + base, "rows")
    scaled = steps.binary(context, Op.MUL, found, context.const(strides, "strides"))
    rows = steps.reduce(context, Op.SUM, scaled, [len(tuples) - 1], keep=False)
    return steps.binary(context, Op.ADD, rows, context.const(base, "base")) if batch else rows


@lowers("GatherND")
def gather_nd(context: NodeContext) -> None:
    """GatherND as GATHER of rows of the flattened tensor."""
    shape, batch = context.shape(), context.int("batch_dims", 0)
    rows = _flat_rows(context, 1, shape, batch)
    row = shape[batch + context.shape(1)[-1] :]
    x = steps.reshape(context, context.input(), (prod(shape) // max(prod(row), 1), prod(row)))
    flat = steps.reshape(context, rows, (prod(rows.shape),))
    y = steps.gather(context, x, flat, 0)
    steps.store(context, steps.reshape(context, y, context.out_shape()))


@lowers("ScatterND")
def scatter_nd(context: NodeContext) -> None:
    """ScatterND with reduction none or add."""
    shape = context.shape()
    row = shape[context.shape(1)[-1] :]
    rows = _flat_rows(context, 1, shape)
    _scatter(context, rows, prod(row))


@lowers("ScatterElements")
def scatter_elements(context: NodeContext) -> None:
    """ScatterElements with reduction none or add."""
    shape = context.shape()
    axis = context.int("axis", 0) % len(shape)
    _scatter(context, _flat_elements(context, places(context, 1, shape[axis]), shape, axis), 1)


def _scatter(context: NodeContext, rows: Tensor, row: int) -> None:
    """Write the third input's rows into the first input, both flattened to (rows, row).

    Constant indices: GATHER from the data and the updates behind it. Otherwise SCATTER_ND into zeros,
    which adds up where indices meet, and a mask of what was written.
    """
    reduction = context.string("reduction", "none")
    if reduction not in ("none", "add"):
        raise Refused(f"reduction '{reduction}'", "TFLite can express none and add")
    shape = context.shape()
    data = steps.reshape(context, context.input(), (prod(shape) // row, row))
    count = prod(rows.shape)
    updates = steps.reshape(context, context.input(2), (count, row))
    rows = steps.reshape(context, rows, (count,))
    if reduction == "none" and rows.data is not None:
        source = np.arange(data.shape[0], dtype=np.int32)
        source[rows.data] = data.shape[0] + np.arange(count, dtype=np.int32)
        both = steps.concat(context, [data, updates], 0)
        y = steps.gather(context, both, context.int_const(source, "source"), 0)
    elif reduction == "add":
        y = steps.binary(context, Op.ADD, data, _into_zeros(context, rows, updates, data.shape))
    else:
        ones = context.const(np.ones((count, 1), np.int32), "ones")
        written = _into_zeros(context, rows, ones, (data.shape[0], 1))
        mask = steps.binary(context, Op.GREATER, written, 0)
        y = steps.select(context, mask, _into_zeros(context, rows, updates, data.shape), data)
    steps.store(context, steps.reshape(context, y, shape))


def _into_zeros(context: NodeContext, rows: Tensor, updates: Tensor, shape: Sequence[int]) -> Tensor:
    """SCATTER_ND: the sum of the updates for every row."""
    dtype = steps.kernel_type(context, Op.SCATTER_ND, updates.dtype)
    inputs = [
        steps.reshape(context, rows, (rows.shape[0], 1)),
        steps.cast(context, updates, dtype),
        context.int_const(shape, "shape"),
    ]
    return steps.cast(context, steps.emit(context, Op.SCATTER_ND, inputs, shape, dtype), updates.dtype)


@lowers("OneHot")
def one_hot(context: NodeContext) -> None:
    """OneHot of constant depth and values; indices outside of [-depth, depth) make no element hot."""
    depth = int(context.constant(1, "the depth").item())
    values = context.constant(2, "the pair of values")
    indices = context.input()
    if indices.dtype.kind == "f" or indices.dtype.itemsize < 4:
        indices = steps.cast(context, indices, np.int32)
    negative = steps.binary(context, Op.LESS, indices, 0)
    wrapped = steps.select(context, negative, steps.binary(context, Op.ADD, indices, depth), indices)
    dtype = steps.kernel_type(context, Op.SELECT_V2, values.dtype)
    axis = context.int("axis", -1)
    rank = len(context.out_shape())
    shape = [1] * rank
    shape[axis % rank] = depth
    places = context.const(np.arange(depth, dtype=wrapped.dtype).reshape(shape), "places")
    column = list(context.shape())
    column.insert(axis % rank, 1)
    hot = steps.binary(context, Op.EQUAL, steps.reshape(context, wrapped, column), places)
    off, on = (context.const(values[index].astype(dtype), name) for index, name in ((0, "off"), (1, "on")))
    steps.store(context, steps.cast(context, steps.select(context, hot, on, off), values.dtype))
