"""Arithmetic of two or more operands, element by element with broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.converters.coreml.lowering import NEURAL_NETWORK, NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.arithmetic import cast, number, quotient, reshape
from toolchain.converters.node_view import Refused

Combination = Callable[..., Var]


def operand(context: NodeContext, index: int) -> Var:
    """An operand of a broadcasting operator; a constant of one element as a scalar where it may be one."""
    value, shape = context.onnx(index), context.shape(index)
    others = [len(context.shape(i)) for i in range(len(context.node.inputs)) if i != index]
    if context.is_constant(index) and shape and np.prod(shape) == 1 and max(others, default=0) >= len(shape):
        scalar = context.input(index).val.reshape(-1)[0]
        return mb.const(val=scalar, name=context.lowering.unique(f"{value.name}_scalar"))
    return _aligned(context, context.input(index))


def _aligned(context: NodeContext, x: Var) -> Var:
    """An operand with as many axes as the result, where neural networks need that.

    coremltools writes layers that broadcast to the shape of one of the operands also where none has the
    shape of the result, as with (3,) and (1, 1, 1).
    """
    whole = context.out_shape()
    shapes = [context.shape(index) for index in range(len(context.node.inputs))]
    if context.goal.kind != NEURAL_NETWORK or not x.rank or whole in shapes:
        return x
    return reshape(x, (1,) * (len(whole) - x.rank) + tuple(x.shape))


def binary(context: NodeContext, combine: Combination) -> None:
    """Lower a node of two operands to one operator."""
    context.store(combine(x=operand(context, 0), y=operand(context, 1)))


@lowers("Add")
def add(context: NodeContext) -> None:
    """Add."""
    binary(context, mb.add)


@lowers("Sub")
def sub(context: NodeContext) -> None:
    """Sub."""
    binary(context, mb.sub)


@lowers("Mul")
def mul(context: NodeContext) -> None:
    """Mul."""
    binary(context, mb.mul)


@lowers("Div")
def div(context: NodeContext) -> None:
    """Div; ONNX cuts integers towards zero, floor_div towards minus infinity."""
    binary(context, mb.real_div if context.is_float() else quotient)


@lowers("Mod")
def mod(context: NodeContext) -> None:
    """Mod: the sign of the divisor, or with fmod=1 the sign of the dividend.

    For floats fmod(x, y) = sign(x) * mod(|x|, |y|), which is exact. For integers the absolute value of
    the smallest one does not exist; there a remainder of the wrong sign is corrected by the divisor.
    """
    x, y = operand(context, 0), operand(context, 1)
    if not context.int("fmod", 0):
        context.store(mb.mod(x=x, y=y))
        return
    zero = number(x, 0)
    negative = mb.less(x=x, y=zero)
    if context.is_float():
        rest = mb.mod(x=mb.abs(x=x), y=mb.abs(x=y))
        sign = mb.sub(x=number(x, 1), y=mb.mul(x=cast(negative, np.float32), y=number(x, 2)))
        context.store(mb.mul(x=rest, y=sign))
        return
    rest = mb.mod(x=x, y=y)
    opposite = mb.logical_xor(x=negative, y=mb.less(x=y, y=zero))
    wrong = mb.logical_and(x=opposite, y=mb.not_equal(x=rest, y=zero))
    context.store(mb.sub(x=rest, y=mb.mul(x=cast(wrong, np.int32), y=y)))


@lowers("Pow")
def pow_(context: NodeContext) -> None:
    """Pow: constant exponents 1, 2, 3, 0.5, -0.5 and -1 as products, roots and quotients, others as pow.

    The result has the type of the base. As a square root, (-inf) ** 0.5 is NaN instead of inf.
    """
    x = operand(context, 0)
    if context.is_constant(1):
        exponent = context.constant(1, "the exponent")
        y = _constant_power(x, exponent.item()) if exponent.size == 1 else None
        if y is not None and tuple(y.shape) == context.out_shape():
            context.store(y)
            return
        if context.goal.kind == NEURAL_NETWORK and exponent.size > 1:
            raise Refused(
                "neural networks have no layer for a constant exponent of several elements",
                "use one exponent for all elements, or export with -f coreml",
            )
    context.store(mb.pow(x=x, y=_exponent(context)) if context.is_float() else _integer_power(context, x))


def _exponent(context: NodeContext) -> Var:
    """The exponent in the type of the base."""
    y, base = operand(context, 1), context.computed_dtype(0)
    if context.computed_dtype(1) == base:
        return y
    return mb.const(val=y.val.astype(base)) if y.val is not None else cast(y, base)


def _integer_power(context: NodeContext, x: Var) -> Var:
    """Power of integers; a negative one is 0 but for the bases 1 and -1, where its sign does not matter."""
    known = context.constant(1, "the exponent") if context.is_constant(1) else None
    if context.is_float(1) and (known is None or (known != np.round(known)).any()):
        raise Refused("Pow of integers by a fraction", "cast the base to float32 in the network")
    y = _exponent(context)
    if known is not None and (known >= 0).all():
        return mb.pow(x=x, y=y)
    not_negative = mb.greater_equal(x=y, y=np.int32(0))
    unit = mb.equal(x=mb.abs(x=x), y=np.int32(1))
    kept = mb.logical_or(x=not_negative, y=unit)
    return mb.mul(x=mb.pow(x=x, y=mb.abs(x=y)), y=cast(kept, np.int32))


def _constant_power(x: Var, power: float) -> Var | None:
    """The power without pow, None where that needs more than two operators."""
    if power == 1:
        return x
    if power == 2:
        return mb.mul(x=x, y=x)
    if power == 3:
        return mb.mul(x=mb.mul(x=x, y=x), y=x)
    if not np.issubdtype(type(number(x, 0)), np.floating):
        return None
    if power == 0.5:
        return mb.sqrt(x=x)
    if power == -0.5:
        return mb.real_div(x=number(x, 1), y=mb.sqrt(x=x))
    if power == -1:
        return mb.real_div(x=number(x, 1), y=x)
    return None


def _variadic(context: NodeContext, combine: Combination) -> Var:
    """Combine all inputs one after the other."""
    y = operand(context, 0)
    for index in range(1, len(context.node.inputs)):
        y = combine(x=y, y=operand(context, index))
    return y


@lowers("Max")
def max_(context: NodeContext) -> None:
    """Max of any number of inputs."""
    context.store(_variadic(context, mb.maximum))


@lowers("Min")
def min_(context: NodeContext) -> None:
    """Min of any number of inputs."""
    context.store(_variadic(context, mb.minimum))


@lowers("Sum")
def sum_(context: NodeContext) -> None:
    """Sum of any number of inputs."""
    context.store(_variadic(context, mb.add))


@lowers("Mean")
def mean(context: NodeContext) -> None:
    """Mean of any number of inputs."""
    total, count = _variadic(context, mb.add), len(context.node.inputs)
    context.store(mb.mul(x=total, y=number(total, 1 / count)) if count > 1 else total)
