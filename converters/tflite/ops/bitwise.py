"""Bits of integers. TFLite has only BITWISE_XOR and RIGHT_SHIFT, both of up to 32 bits."""

from __future__ import annotations

import numpy as np

from toolchain.converters.tflite.layout import along_axes, elementwise
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.elementwise import binary, operand, store_broadcast
from toolchain.converters.tflite.program import Op, Tensor

# Types whose sums fit into the int32 in which they are computed.
SHORT = ("int8", "uint8", "int16", "uint16")
CASTABLE = frozenset({"bool", "float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"})


@lowers("BitwiseXor", layout=elementwise)
def bitwise_xor(context: NodeContext) -> None:
    """BitwiseXor."""
    binary(context, Op.BITWISE_XOR)


@lowers("BitwiseNot", layout=elementwise)
def bitwise_not(context: NodeContext) -> None:
    """BitwiseNot: every bit differs from 1."""
    x = context.input()
    ones = steps.number(context, np.array(-1, np.int64).astype(x.dtype), x.dtype)
    steps.store(context, steps.binary(context, Op.BITWISE_XOR, x, ones))


@lowers("BitwiseAnd", layout=elementwise)
def bitwise_and(context: NodeContext) -> None:
    """BitwiseAnd: half of (a + b) - (a xor b): a sum is its bits without carry, and twice the carries."""
    a, b = _short_operands(context)
    _store_half(context, Op.SUB, a, b)


@lowers("BitwiseOr", layout=elementwise)
def bitwise_or(context: NodeContext) -> None:
    """BitwiseOr: half of (a + b) + (a xor b), see `bitwise_and`."""
    a, b = _short_operands(context)
    _store_half(context, Op.ADD, a, b)


def _short_operands(context: NodeContext) -> list[Tensor]:
    if context.dtype().name not in SHORT:
        raise Refused(
            f"{context.node.op_type} of {context.dtype().name}, for which TFLite has no operator",
            "use int8, uint8, int16 or uint16 in the network",
        )
    return [steps.cast(context, operand(context, index), np.int32) for index in range(2)]


def _store_half(context: NodeContext, code: int, a: Tensor, b: Tensor) -> None:
    """Store half of (a + b) plus or minus (a xor b)."""
    total = steps.binary(context, Op.ADD, a, b)
    double = steps.binary(context, code, total, steps.binary(context, Op.BITWISE_XOR, a, b))
    half = steps.binary(context, Op.RIGHT_SHIFT, double, 1)
    store_broadcast(context, steps.cast(context, half, context.dtype()))


@lowers("BitShift", layout=elementwise)
def bit_shift(context: NodeContext) -> None:
    """BitShift; by a negative number or more bits than there are only the sign is left of a right shift."""
    x, bits = operand(context, 0), 8 * context.dtype().itemsize
    amount = operand(context, 1)
    if np.issubdtype(amount.dtype, np.signedinteger):
        below = steps.binary(context, Op.LESS, amount, 0)
        amount = steps.select(context, below, steps.number(context, bits, amount.dtype), amount)
    amount = steps.binary(context, Op.MINIMUM, amount, bits)
    if context.string("direction") == "LEFT":
        powers = [1 << bit for bit in range(bits)] + [0]
        table = context.const(np.array(powers, np.uint64).astype(x.dtype), "powers")
        factor = steps.gather(context, table, steps.cast(context, amount, np.int32), 0)
        store_broadcast(context, steps.binary(context, Op.MUL, x, factor))
        return
    # The kernel shifts by at most one bit less than there are.
    most = steps.binary(context, Op.MINIMUM, amount, bits - 1)
    y = steps.binary(context, Op.RIGHT_SHIFT, x, most)
    rest = steps.binary(context, Op.SUB, amount, most)
    store_broadcast(context, steps.binary(context, Op.RIGHT_SHIFT, y, rest))


@lowers("BitCast", layout=along_axes)
def bit_cast(context: NodeContext) -> None:
    """BitCast to a type of the same size."""
    x, target = context.input(), context.node.outputs[0].dtype
    assert target is not None
    dtype = target.numpy()
    for name in (x.dtype.name, dtype.name):
        if name not in CASTABLE:
            raise Refused(f"BitCast of {name}", "use an integer type of at most 32 bits or float32")
    steps.store(context, steps.emit(context, Op.BITCAST, [x], x.shape, dtype))
