"""Places of the largest and smallest elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import axis_last, reduced_axes, reduction
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.program import Op, Tensor


def descending(context: NodeContext, x: Tensor) -> Tensor:
    """Values in the opposite order: -x, of integers -1 - x, which never overflows."""
    if x.dtype == np.float32:
        return steps.unary(context, Op.NEG, x)
    return steps.binary(context, Op.SUB, -1, x)


@lowers("ArgMax", layout=reduction)
def arg_max(context: NodeContext) -> None:
    """ArgMax: the first of equal maxima, the last with select_last_index=1."""
    _arg(context, Op.ARG_MAX, schema.ArgMaxOptionsT())


@lowers("ArgMin", layout=reduction)
def arg_min(context: NodeContext) -> None:
    """ArgMin: the first of equal minima, the last with select_last_index=1."""
    _arg(context, Op.ARG_MIN, schema.ArgMinOptionsT())


def _arg(context: NodeContext, code: int, options: Any) -> None:
    x = context.input()
    (axis,) = (context.input_perm.index(axis) for axis in reduced_axes(context.node) or ())
    length, last = x.shape[axis], context.int("select_last_index", 0)
    x = steps.cast(context, x, steps.kernel_type(context, code, x.dtype))
    if last:
        inputs = [x, context.int_const([axis], "axis")]
        x = steps.emit(context, Op.REVERSE_V2, inputs, x.shape)
    options.outputType = schema.TensorType.INT64
    shape = [size for place, size in enumerate(x.shape) if place != axis]
    inputs = [x, context.const(np.int32(axis), "axis")]
    y = steps.emit(context, code, inputs, shape, np.int64, options)
    if last:
        y = steps.binary(context, Op.SUB, length - 1, y)
    made = context.out_shape()
    steps.store(context, steps.reshape(context, y, [made[axis] for axis in context.perm]))


@lowers("TopK", layout=axis_last())
def top_k(context: NodeContext) -> None:
    """TopK along the axis that is stored last, smallest elements by their opposites; always sorted."""
    count = int(context.constant(1, "k").item()) if context.given(1) else context.int("k")
    if not count:
        raise Refused("TopK of k = 0", "remove the node from the network")
    x = context.input()
    dtype = steps.kernel_type(context, Op.TOPK_V2, x.dtype)
    y = steps.cast(context, x, dtype)
    smallest = not context.int("largest", 1)
    y = descending(context, y) if smallest else y
    shape = (*x.shape[:-1], count)
    values, places = context.temp(shape, dtype, "values"), context.temp(shape, np.dtype(np.int32), "places")
    steps.emit_all(context, Op.TOPK_V2, [y, context.const(np.int32(count), "k")], [values, places])
    values = descending(context, values) if smallest else values
    steps.store(context, steps.cast(context, values, x.dtype), 0)
    if len(context.node.outputs) > 1:
        steps.store(context, steps.cast(context, places, np.int64), 1)
