"""Reductions and running sums."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.arithmetic import cast, log, quotient, require_float
from toolchain.converters.node_view import Refused


def _axes(context: NodeContext) -> list[int]:
    """The reduced axes, none of them negative; attribute or second input of the node."""
    rank = len(context.shape())
    given = context.ints("axes")
    if given is None:
        found = context.optional_constant(1, "the axes")
        given = () if found is None else found.reshape(-1).tolist()
    if not given and not context.int("noop_with_empty_axes", 0):
        return list(range(rank))
    return sorted({axis % max(rank, 1) for axis in given}) if rank else []


def _reduced(context: NodeContext, x: Var, reduce: Callable[..., Var]) -> Var:
    """`x` reduced over the node's axes; as it is where there are none."""
    axes = _axes(context)
    if not axes:
        return x
    return reduce(x=x, axes=np.array(axes, np.int32), keep_dims=bool(context.int("keepdims", 1)))


@lowers("ReduceSum")
def reduce_sum(context: NodeContext) -> None:
    """ReduceSum."""
    context.store(_reduced(context, context.input(), mb.reduce_sum))


@lowers("ReduceMean")
def reduce_mean(context: NodeContext) -> None:
    """ReduceMean; of integers the sum divided towards zero, as ONNX Runtime does."""
    if context.is_float():
        context.store(_reduced(context, context.input(), mb.reduce_mean))
        return
    total = _reduced(context, context.input(), mb.reduce_sum)
    count = prod(context.shape()[axis] for axis in _axes(context))
    context.store(quotient(total, np.int32(count)) if count > 1 else total)


@lowers("ReduceMax")
def reduce_max(context: NodeContext) -> None:
    """ReduceMax; of booleans whether any is true."""
    _extremum(context, mb.reduce_max)


@lowers("ReduceMin")
def reduce_min(context: NodeContext) -> None:
    """ReduceMin; of booleans whether all are true."""
    _extremum(context, mb.reduce_min)


def _extremum(context: NodeContext, reduce: Callable[..., Var]) -> None:
    x, dtype = context.input(), context.computed_dtype()
    number = cast(x, np.int32) if dtype == np.bool_ else x
    context.store(cast(_reduced(context, number, reduce), dtype))


@lowers("ReduceProd")
def reduce_prod(context: NodeContext) -> None:
    """ReduceProd."""
    context.store(_reduced(context, context.input(), mb.reduce_prod))


@lowers("ReduceL1")
def reduce_l1(context: NodeContext) -> None:
    """ReduceL1: the sum of absolute values."""
    x = context.input()
    context.store(_reduced(context, x, mb.reduce_l1_norm) if _axes(context) else mb.abs(x=x))


@lowers("ReduceL2")
def reduce_l2(context: NodeContext) -> None:
    """ReduceL2 of floats: the root of the sum of squares."""
    x = require_float(context)
    context.store(_reduced(context, x, mb.reduce_l2_norm) if _axes(context) else mb.abs(x=x))


@lowers("ReduceSumSquare")
def reduce_sum_square(context: NodeContext) -> None:
    """ReduceSumSquare."""
    x = context.input()
    context.store(_reduced(context, x, mb.reduce_sum_square) if _axes(context) else mb.mul(x=x, y=x))


@lowers("ReduceLogSum")
def reduce_log_sum(context: NodeContext) -> None:
    """ReduceLogSum of floats."""
    x = require_float(context)
    context.store(log(context, _reduced(context, x, mb.reduce_sum)))


@lowers("ReduceLogSumExp")
def reduce_log_sum_exp(context: NodeContext) -> None:
    """ReduceLogSumExp of floats."""
    context.store(_reduced(context, require_float(context), mb.reduce_log_sum_exp))


@lowers("CumSum")
def cum_sum(context: NodeContext) -> None:
    """CumSum, exclusive and reverse too; neural networks have its layer from iOS 14 on only."""
    context.require_ios(15, "CumSum")
    x = context.input()
    if not x.rank:
        raise Refused("CumSum of a scalar", "remove the node from the network")
    axis = int(context.constant(1, "the axis").item()) % x.rank
    exclusive, reverse = bool(context.int("exclusive", 0)), bool(context.int("reverse", 0))
    context.store(mb.cumsum(x=x, axis=np.int32(axis), exclusive=exclusive, reverse=reverse))
