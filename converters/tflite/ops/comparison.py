"""Comparisons, logic and choice."""

from __future__ import annotations

import numpy as np

from toolchain.converters.tflite.layout import elementwise
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.elementwise import binary, operand, store_broadcast
from toolchain.converters.tflite.program import Op


@lowers("Equal", layout=elementwise)
def equal(context: NodeContext) -> None:
    """Equal."""
    binary(context, Op.EQUAL)


@lowers("Less", layout=elementwise)
def less(context: NodeContext) -> None:
    """Less."""
    binary(context, Op.LESS)


@lowers("LessOrEqual", layout=elementwise)
def less_or_equal(context: NodeContext) -> None:
    """LessOrEqual."""
    binary(context, Op.LESS_EQUAL)


@lowers("Greater", layout=elementwise)
def greater(context: NodeContext) -> None:
    """Greater."""
    binary(context, Op.GREATER)


@lowers("GreaterOrEqual", layout=elementwise)
def greater_or_equal(context: NodeContext) -> None:
    """GreaterOrEqual."""
    binary(context, Op.GREATER_EQUAL)


@lowers("And", layout=elementwise)
def and_(context: NodeContext) -> None:
    """And."""
    binary(context, Op.LOGICAL_AND)


@lowers("Or", layout=elementwise)
def or_(context: NodeContext) -> None:
    """Or."""
    binary(context, Op.LOGICAL_OR)


@lowers("Xor", layout=elementwise)
def xor(context: NodeContext) -> None:
    """Xor: booleans that differ."""
    binary(context, Op.NOT_EQUAL)


@lowers("Not", layout=elementwise)
def not_(context: NodeContext) -> None:
    """Not."""
    steps.store(context, steps.unary(context, Op.LOGICAL_NOT, context.input()))


@lowers("Where", layout=elementwise)
def where(context: NodeContext) -> None:
    """Where as SELECT_V2, which broadcasts all three inputs."""
    store_broadcast(context, steps.select(context, *(operand(context, index) for index in range(3))))


@lowers("IsNaN", layout=elementwise)
def is_nan(context: NodeContext) -> None:
    """IsNaN: what does not equal itself."""
    x = context.input()
    steps.store(context, steps.binary(context, Op.NOT_EQUAL, x, x))


@lowers("IsInf", layout=elementwise)
def is_inf(context: NodeContext) -> None:
    """IsInf of either sign, or of one with detect_negative=0 or detect_positive=0."""
    x = context.input()
    signs = [
        sign
        for sign, name in ((np.inf, "detect_positive"), (-np.inf, "detect_negative"))
        if context.int(name, 1)
    ]
    if len(signs) == 2:
        x = steps.unary(context, Op.ABS, x)
    if not signs:
        raise Refused("IsInf with detect_negative=0 and detect_positive=0", "its result is always false")
    steps.store(context, steps.binary(context, Op.EQUAL, x, signs[0]))
