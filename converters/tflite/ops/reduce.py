"""Reductions and running sums."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import along_axes, reduced_axes, reduction
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.elementwise import absolute
from toolchain.converters.tflite.program import Op, Tensor

LARGEST = float(np.finfo(np.float32).max)


def _axes(context: NodeContext) -> list[int]:
    """Where the reduced axes are stored."""
    axes = reduced_axes(context.node)
    if axes is None:
        raise Refused("the axes are computed at run time", "make the axes a constant in the network")
    return [context.input_perm.index(axis) for axis in axes]


def _reduce(context: NodeContext, code: int, x: Tensor) -> Tensor:
    return steps.reduce(context, code, x, _axes(context), bool(context.int("keepdims", 1)))


def _store(context: NodeContext, tensor: Tensor) -> None:
    """Make a reduction the output; the two differ by axes of length 1 at most."""
    shape = context.out_shape()
    stored = [shape[axis] for axis in context.perm]
    steps.store(context, steps.reshape(context, tensor, stored))


def _require_float(context: NodeContext) -> None:
    if context.dtype() != np.float32:
        raise Refused(f"{context.node.op_type} of {context.dtype().name}", "cast to float32 in the network")


@lowers("ReduceSum", layout=reduction)
def reduce_sum(context: NodeContext) -> None:
    """ReduceSum."""
    _store(context, _reduce(context, Op.SUM, context.input()))


@lowers("ReduceMean", layout=reduction)
def reduce_mean(context: NodeContext) -> None:
    """ReduceMean; of integers the sum divided towards zero, in ONNX Runtime and in TFLite."""
    _store(context, _reduce(context, Op.MEAN, context.input()))


@lowers("ReduceMax", layout=reduction)
def reduce_max(context: NodeContext) -> None:
    """ReduceMax; of booleans whether any is true."""
    x = context.input()
    _store(context, _reduce(context, Op.REDUCE_ANY if x.dtype == bool else Op.REDUCE_MAX, x))


@lowers("ReduceMin", layout=reduction)
def reduce_min(context: NodeContext) -> None:
    """ReduceMin; of booleans whether all are true."""
    x = context.input()
    _store(context, _reduce(context, Op.REDUCE_ALL if x.dtype == bool else Op.REDUCE_MIN, x))


@lowers("ReduceProd", layout=reduction)
def reduce_prod(context: NodeContext) -> None:
    """ReduceProd."""
    _store(context, _reduce(context, Op.REDUCE_PROD, context.input()))


@lowers("ReduceL1", layout=reduction)
def reduce_l1(context: NodeContext) -> None:
    """ReduceL1: the sum of absolute values."""
    _store(context, _reduce(context, Op.SUM, absolute(context, context.input())))


def _sum_of_squares(context: NodeContext) -> Tensor:
    x = context.input()
    return _reduce(context, Op.SUM, steps.binary(context, Op.MUL, x, x))


@lowers("ReduceSumSquare", layout=reduction)
def reduce_sum_square(context: NodeContext) -> None:
    """ReduceSumSquare."""
    _store(context, _sum_of_squares(context))


@lowers("ReduceL2", layout=reduction)
def reduce_l2(context: NodeContext) -> None:
    """ReduceL2 of floats: the root of the sum of squares."""
    _require_float(context)
    _store(context, steps.unary(context, Op.SQRT, _sum_of_squares(context)))


@lowers("ReduceLogSum", layout=reduction)
def reduce_log_sum(context: NodeContext) -> None:
    """ReduceLogSum of floats."""
    _require_float(context)
    _store(context, steps.unary(context, Op.LOG, _reduce(context, Op.SUM, context.input())))


@lowers("ReduceLogSumExp", layout=reduction)
def reduce_log_sum_exp(context: NodeContext) -> None:
    """ReduceLogSumExp of floats: m + log(sum(exp(x - m))), which no large x overflows.

    m is the maximum, kept finite so that infinite inputs give infinite outputs and not NaN.
    """
    _require_float(context)
    x, axes = context.input(), _axes(context)
    if not axes:
        _store(context, x)
        return
    top = steps.reduce(context, Op.REDUCE_MAX, x, axes, keep=True)
    top = steps.binary(context, Op.MAXIMUM, top, -LARGEST)
    top = steps.binary(context, Op.MINIMUM, top, LARGEST)
    powers = steps.unary(context, Op.EXP, steps.binary(context, Op.SUB, x, top))
    total = steps.reduce(context, Op.SUM, powers, axes, keep=True)
    _store(context, steps.binary(context, Op.ADD, steps.unary(context, Op.LOG, total), top))


@lowers("CumSum", layout=along_axes)
def cum_sum(context: NodeContext) -> None:
    """CumSum, exclusive and reverse too."""
    x = context.input()
    options = schema.CumsumOptionsT()
    options.exclusive, options.reverse = bool(context.int("exclusive", 0)), bool(context.int("reverse", 0))
    axis = context.axis(int(context.constant(1, "the axis").item()))
    y = steps.cast(context, x, steps.kernel_type(context, Op.CUMSUM, x.dtype))
    y = steps.reshape(context, y, steps.around(x.shape, axis)) if len(x.shape) > steps.MOST_AXES else y
    place = 1 if y.shape != x.shape else axis
    inputs = [y, context.const(np.int32(place), "axis")]
    y = steps.emit(context, Op.CUMSUM, inputs, y.shape, options=options)
    steps.store(context, steps.cast(context, steps.reshape(context, y, x.shape), x.dtype))
