"""Operators that work element by element."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.layout import elementwise, plain_perm
from toolchain.converters.tflite.lowering import NodeContext, lowers
from toolchain.converters.tflite.program import Op, Tensor


def operand(context: NodeContext, index: int) -> Tensor:
    """An operand of a broadcasting operator, ready to be combined with the others in the output's order.

    An operand of lower rank gets leading axes of length 1 first, as ONNX broadcasting says; constants
    and vectors need no TRANSPOSE for that.
    """
    perm = context.perm
    shape = context.shape(index)
    rank = len(perm)
    if len(shape) == rank:
        return context.input(index)
    value = context.onnx(index)
    padded = (1,) * (rank - len(shape)) + tuple(shape)
    stored = tuple(padded[axis] for axis in perm)
    if value.const_value is not None:
        data = value.const_value.numpy()
        if data.size == 1:
            return context.const(data.reshape(()), "scalar")
        return context.const(data.reshape(padded).transpose(perm), "operand")
    x = context.input_as(index, plain_perm(len(shape)))
    if perm == plain_perm(rank):
        return context.reshape(x, padded, "operand")
    x = context.reshape(x, padded, "operand")
    order = [axis for axis in perm if padded[axis] != 1]
    if order == sorted(order):
        return context.reshape(x, stored, "operand_stored")
    made = context.temp(stored, x.dtype, "operand_stored")
    return context.emit(Op.TRANSPOSE, [x, context.int_const(perm, "perm")], made, schema.TransposeOptionsT())


def binary(context: NodeContext, code: int, options: object, version: int = 1) -> None:
    """Emit a broadcasting operator of two operands."""
    context.emit(code, [operand(context, 0), operand(context, 1)], context.output(), options, version)


@lowers("Add", layout=elementwise)
def add(context: NodeContext) -> None:
    """Add."""
    binary(context, Op.ADD, schema.AddOptionsT())


@lowers("Mul", layout=elementwise)
def mul(context: NodeContext) -> None:
    """Mul."""
    binary(context, Op.MUL, schema.MulOptionsT())


@lowers("Sub", layout=elementwise)
def sub(context: NodeContext) -> None:
    """Sub."""
    binary(context, Op.SUB, schema.SubOptionsT())


@lowers("Div", layout=elementwise)
def div(context: NodeContext) -> None:
    """Div of floats."""
    binary(context, Op.DIV, schema.DivOptionsT())
