"""Arithmetic of two or more operands, element by element with broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.converters.tflite.layout import elementwise, is_constant
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.program import Op, Tensor


def operand(context: NodeContext, index: int) -> Tensor:
    """An operand of a broadcasting operator, ready to be combined with the others in the output's order.

    ONNX aligns shapes at the end, so an operand of lower rank has its axes at their places in the
    output's order, and axes of length 1 where it has none.
    """
    perm = context.perm
    shape = context.shape(index)
    tensor = context.input(index)
    if is_constant(context.onnx(index)) and tensor.data is not None and tensor.data.size == 1:
        return steps.reshape(context, tensor, ())
    added = len(perm) - len(shape)
    if sorted(perm[:added]) == list(range(added)):
        return tensor
    padded = (1,) * added + tuple(shape)
    return steps.reshape(context, tensor, [padded[axis] for axis in perm])


def store_broadcast(context: NodeContext, tensor: Tensor) -> None:
    """Make the result of broadcasting operands the output."""
    shape = context.out_shape()
    stored = [shape[axis] for axis in context.perm]
    steps.store(context, steps.reshape(context, tensor, stored))


def binary(context: NodeContext, code: int) -> None:
    """Lower a node of two operands to one operator."""
    store_broadcast(context, steps.binary(context, code, operand(context, 0), operand(context, 1)))


@lowers("Add", layout=elementwise)
def add(context: NodeContext) -> None:
    """Add; integers wrap around."""
    binary(context, Op.ADD)


@lowers("Sub", layout=elementwise)
def sub(context: NodeContext) -> None:
    """Sub; integers wrap around."""
    binary(context, Op.SUB)


@lowers("Mul", layout=elementwise)
def mul(context: NodeContext) -> None:
    """Mul; integers wrap around."""
    binary(context, Op.MUL)


@lowers("Div", layout=elementwise)
def div(context: NodeContext) -> None:
    """Div; integers are cut towards zero, as ONNX and TFLite both say."""
    binary(context, Op.DIV)


@lowers("Mod", layout=elementwise)
def mod(context: NodeContext) -> None:
    """Mod: the sign of the divisor (FLOOR_MOD), or with fmod=1 the sign of the dividend.

    fmod(x, y) = sign(x) * FLOOR_MOD(|x|, |y|), which is exact.
    """
    x, y = operand(context, 0), operand(context, 1)
    if not context.int("fmod", 0) or x.dtype.kind == "u":
        store_broadcast(context, steps.binary(context, Op.FLOOR_MOD, x, y))
        return
    rest = steps.binary(context, Op.FLOOR_MOD, absolute(context, x), absolute(context, y))
    negative = steps.binary(context, Op.LESS, x, 0)
    store_broadcast(context, steps.select(context, negative, steps.unary(context, Op.NEG, rest), rest))


def absolute(context: NodeContext, x: Tensor) -> Tensor:
    """|x|; of int64, for which there is no ABS, max(x, -x)."""
    if x.dtype.kind in "ub":
        return x
    if x.dtype == np.int64:
        return steps.binary(context, Op.MAXIMUM, x, steps.unary(context, Op.NEG, x))
    return steps.unary(context, Op.ABS, x)


@lowers("Pow", layout=elementwise)
def pow_(context: NodeContext) -> None:
    """Pow: constant exponents 1, 2, 3, 0.5 and -1 as products, roots and quotients, others as POW.

    The result has the type of the base. As a square root, (-inf) ** 0.5 is NaN instead of inf.
    """
    x = operand(context, 0)
    exponent = context.onnx(1)
    if exponent.const_value is not None and exponent.const_value.size == 1:
        power = exponent.const_value.numpy().item()
        y = _constant_power(context, x, power)
        if y is not None:
            store_broadcast(context, y)
            return
    store_broadcast(context, steps.binary(context, Op.POW, x, _exponent(context, x)))


def _exponent(context: NodeContext, x: Tensor) -> Tensor:
    """The exponent in the type of the base."""
    y = operand(context, 1)
    if x.dtype.kind == "f" or y.dtype.kind != "f":
        if x.dtype.kind != "f" and y.data is not None and (y.data < 0).any():
            raise Refused("a negative exponent of an integer", "cast the base to float32 in the network")
        return steps.cast(context, y, x.dtype)
    if y.data is None or (y.data != np.round(y.data)).any() or (y.data < 0).any():
        raise Refused(
            f"Pow of {x.dtype} with an exponent of {y.dtype}", "cast the base to float32 in the network"
        )
    return steps.cast(context, y, x.dtype)


def _constant_power(context: NodeContext, x: Tensor, power: float) -> Tensor | None:
    """The power without POW, None where that needs more than two operators."""
    if power == 1:
        return x
    if power == 2:
        if x.dtype == np.float32:
            return steps.unary(context, Op.SQUARE, x)
        return steps.binary(context, Op.MUL, x, x)
    if power == 3:
        return steps.binary(context, Op.MUL, steps.binary(context, Op.MUL, x, x), x)
    if x.dtype == np.float32 and power == 0.5:
        return steps.unary(context, Op.SQRT, x)
    if x.dtype == np.float32 and power == -1:
        return steps.binary(context, Op.DIV, 1, x)
    return None


def _variadic(context: NodeContext, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine all inputs one after the other."""
    y = operand(context, 0)
    for index in range(1, len(context.node.inputs)):
        y = combine(y, operand(context, index))
    return y


@lowers("Max", layout=elementwise)
def max_(context: NodeContext) -> None:
    """Max of any number of inputs."""
    store_broadcast(context, _variadic(context, lambda a, b: steps.binary(context, Op.MAXIMUM, a, b)))


@lowers("Min", layout=elementwise)
def min_(context: NodeContext) -> None:
    """Min of any number of inputs."""
    store_broadcast(context, _variadic(context, lambda a, b: steps.binary(context, Op.MINIMUM, a, b)))


@lowers("Sum", layout=elementwise)
def sum_(context: NodeContext) -> None:
    """Sum of any number of inputs."""
    store_broadcast(context, _variadic(context, lambda a, b: steps.binary(context, Op.ADD, a, b)))


@lowers("Mean", layout=elementwise)
def mean(context: NodeContext) -> None:
    """Mean of any number of inputs."""
    total = _variadic(context, lambda a, b: steps.binary(context, Op.ADD, a, b))
    count = len(context.node.inputs)
    store_broadcast(context, steps.binary(context, Op.DIV, total, count) if count > 1 else total)
