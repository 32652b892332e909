"""Formulas: operators written as arithmetic on tensors, for what TFLite has no operator of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.layout import Perm, is_constant
from toolchain.converters.tflite.lowering import NodeContext
from toolchain.converters.tflite.program import Op, Tensor

# Versions with which operands of different shapes may have more than four axes.
MANY_AXES_VERSION = {Op.SUB: 3, Op.DIV: 2, Op.MAXIMUM: 3, Op.MINIMUM: 3}
BYTES_VERSION = 2
LONG_VERSION = {Op.ADD: 4, Op.SUB: 4, Op.MUL: 5}
SHORT_VERSION = {Op.MAXIMUM: 4, Op.MINIMUM: 4}


@dataclass(frozen=True)
class Expression:
    """A tensor of the node that is lowered; arithmetic on it emits operators, with broadcasting.

    Numbers take the tensor's own element type.
    """

    context: NodeContext
    tensor: Tensor

    def _operand(self, other: Expression | float) -> Tensor:
        if isinstance(other, Expression):
            return other.tensor
        return self.context.const(np.asarray(other, self.tensor.dtype), "number")

    def _binary(self, code: int, other: Expression | float, options: Any) -> Expression:
        left, right = self.tensor, self._operand(other)
        shape = np.broadcast_shapes(left.shape, right.shape)
        made = self.context.temp(shape, left.dtype, "step")
        version = binary_version(code, left, right)
        return Expression(self.context, self.context.emit(code, [left, right], made, options, version))

    def __add__(self, other: Expression | float) -> Expression:
        return self._binary(Op.ADD, other, schema.AddOptionsT())

    def __sub__(self, other: Expression | float) -> Expression:
        return self._binary(Op.SUB, other, schema.SubOptionsT())

    def __mul__(self, other: Expression | float) -> Expression:
        return self._binary(Op.MUL, other, schema.MulOptionsT())

    def __truediv__(self, other: Expression | float) -> Expression:
        return self._binary(Op.DIV, other, schema.DivOptionsT())

    def maximum(self, other: Expression | float) -> Expression:
        """The larger of both."""
        return self._binary(Op.MAXIMUM, other, schema.MaximumMinimumOptionsT())

    def minimum(self, other: Expression | float) -> Expression:
        """The smaller of both."""
        return self._binary(Op.MINIMUM, other, schema.MaximumMinimumOptionsT())

    def unary(self, code: int, options: Any = None) -> Expression:
        """An operator that keeps the shape, for instance Op.EXP."""
        made = self.context.temp(self.tensor.shape, self.tensor.dtype, "step")
        return Expression(self.context, self.context.emit(code, [self.tensor], made, options))

    def reduce(self, code: int, axes: Sequence[int]) -> Expression:
        """A reduction over storage axes, which stay with length 1."""
        options = schema.ReducerOptionsT()
        options.keepDims = True
        shape = [1 if axis in axes else size for axis, size in enumerate(self.tensor.shape)]
        made = self.context.temp(shape, self.tensor.dtype, "reduced")
        inputs = [self.tensor, self.context.int_const(axes, "axes")]
        return Expression(self.context, self.context.emit(code, inputs, made, options))

    def mean(self, axes: Sequence[int]) -> Expression:
        """The mean over storage axes, which stay with length 1."""
        return self.reduce(Op.MEAN, axes)

    def reshape(self, shape: Sequence[int]) -> Expression:
        """The same data under another shape."""
        if tuple(shape) == self.tensor.shape:
            return self
        return Expression(self.context, self.context.reshape(self.tensor, shape, "view"))

    def store(self, index: int = 0) -> Expression:
        """Make this the output `index` of the node, which must have its shape; nothing was emitted since."""
        made = self.context.output(index)
        last = self.context.lowering.program.operators[-1]
        assert last.outputs[0] is self.tensor
        assert made.shape == self.tensor.shape
        last.outputs = [made]
        return Expression(self.context, made)


def binary_version(code: int, left: Tensor, right: Tensor) -> int:
    """Lowest version of a broadcasting operator that takes these operands."""
    if left.dtype == np.int64:
        return LONG_VERSION.get(code, 1)
    if left.dtype == np.int16:
        return SHORT_VERSION.get(code, 1)
    if left.shape != right.shape and max(len(left.shape), len(right.shape)) > 4:
        return MANY_AXES_VERSION.get(code, 1)
    return BYTES_VERSION if left.dtype == np.int8 else 1


def input_expression(context: NodeContext, index: int = 0) -> Expression:
    """An input of the node in the order that the layout rule chose."""
    return Expression(context, context.input(index))


def parameter(context: NodeContext, index: int, axes: Sequence[int], perm: Perm) -> Expression:
    """An input whose axes belong to the given axes of a larger tensor, ready to be broadcast against it.

    Args:
        context: node being lowered.
        index: input, constant or not.
        axes: for each of its axes, the ONNX axis of the larger tensor.
        perm: storage order of the larger tensor.
    """
    shape = context.shape(index)
    whole = [1] * len(perm)
    for axis, size in zip(axes, shape, strict=True):
        whole[axis] = size
    stored = [whole[axis] for axis in perm]
    value = context.onnx(index)
    if is_constant(value):
        assert value.const_value is not None
        data = value.const_value.numpy().reshape(whole).transpose(perm)
        return Expression(context, context.const(data, "parameter"))
    own = tuple(sorted(range(len(shape)), key=lambda axis: perm.index(axes[axis])))
    tensor = context.input_as(index, own)
    return Expression(
        context, tensor if tensor.shape == tuple(stored) else context.reshape(tensor, stored, "parameter")
    )
