"""Comparisons, logic and choice."""

from __future__ import annotations

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.arithmetic import broadcast_to, require_float
from toolchain.converters.coreml.ops.elementwise import binary, operand
from toolchain.converters.node_view import Refused


@lowers("Equal")
def equal(context: NodeContext) -> None:
    """Equal; of booleans those that do not differ."""
    if context.computed_dtype() == np.bool_:
        differ = mb.logical_xor(x=operand(context, 0), y=operand(context, 1))
        context.store(mb.logical_not(x=differ))
        return
    binary(context, mb.equal)


@lowers("Less")
def less(context: NodeContext) -> None:
    """Less."""
    binary(context, mb.less)


@lowers("LessOrEqual")
def less_or_equal(context: NodeContext) -> None:
    """LessOrEqual."""
    binary(context, mb.less_equal)


@lowers("Greater")
def greater(context: NodeContext) -> None:
    """Greater."""
    binary(context, mb.greater)


@lowers("GreaterOrEqual")
def greater_or_equal(context: NodeContext) -> None:
    """GreaterOrEqual."""
    binary(context, mb.greater_equal)


@lowers("And")
def and_(context: NodeContext) -> None:
    """And."""
    binary(context, mb.logical_and)


@lowers("Or")
def or_(context: NodeContext) -> None:
    """Or."""
    binary(context, mb.logical_or)


@lowers("Xor")
def xor(context: NodeContext) -> None:
    """Xor."""
    binary(context, mb.logical_xor)


@lowers("Not")
def not_(context: NodeContext) -> None:
    """Not."""
    context.store(mb.logical_not(x=context.input()))


@lowers("Where")
def where(context: NodeContext) -> None:
    """Where; `select` is safe with equal shapes and scalars only, so that others are broadcast before."""
    shape = context.out_shape()
    condition = broadcast_to(context.input(0), shape)
    a, b = (_choice(operand(context, index), shape) for index in (1, 2))
    if not a.rank and not b.rank:
        a = broadcast_to(a, shape)
    context.store(mb.select(cond=condition, a=a, b=b))


def _choice(x: Var, shape: tuple[int, ...]) -> Var:
    return x if x.val is not None and not x.rank else broadcast_to(x, shape)


@lowers("IsNaN")
def is_nan(context: NodeContext) -> None:
    """IsNaN: what does not equal itself."""
    x = require_float(context)
    context.store(mb.not_equal(x=x, y=x))


@lowers("IsInf")
def is_inf(context: NodeContext) -> None:
    """IsInf of either sign, or of one with detect_negative=0 or detect_positive=0."""
    x = require_float(context)
    positive, negative = context.int("detect_positive", 1), context.int("detect_negative", 1)
    if not positive and not negative:
        raise Refused("IsInf with detect_negative=0 and detect_positive=0", "its result is always false")
    sought = np.float32(np.inf if positive else -np.inf)
    context.store(mb.equal(x=mb.abs(x=x) if positive and negative else x, y=sought))
