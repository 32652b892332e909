"""Formulas: operators written as arithmetic on tensors, for what TFLite has no operator of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.converters.tflite.layout import Perm, is_constant
from toolchain.converters.tflite.lowering import NodeContext
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.program import Op, Tensor


@dataclass(frozen=True)
class Expression:
    """A tensor of the node that is lowered; arithmetic on it emits operators, with broadcasting.

    Numbers take the tensor's own element type.
    """

    context: NodeContext
    tensor: Tensor

    def _binary(self, code: int, other: Expression | float) -> Expression:
        right = other.tensor if isinstance(other, Expression) else other
        return Expression(self.context, steps.binary(self.context, code, self.tensor, right))

    def __add__(self, other: Expression | float) -> Expression:
        return self._binary(Op.ADD, other)

    def __sub__(self, other: Expression | float) -> Expression:
        return self._binary(Op.SUB, other)

    def __mul__(self, other: Expression | float) -> Expression:
        return self._binary(Op.MUL, other)

    def __truediv__(self, other: Expression | float) -> Expression:
        return self._binary(Op.DIV, other)

    def __gt__(self, other: Expression | float) -> Expression:
        return self._binary(Op.GREATER, other)

    def maximum(self, other: Expression | float) -> Expression:
        """The larger of both."""
        return self._binary(Op.MAXIMUM, other)

    def minimum(self, other: Expression | float) -> Expression:
        """The smaller of both."""
        return self._binary(Op.MINIMUM, other)

    def where(self, condition: Expression, other: float) -> Expression:
        """These elements where the condition holds, a number elsewhere."""
        number = steps.number(self.context, other, self.tensor.dtype)
        chosen = steps.select(self.context, condition.tensor, self.tensor, number)
        return Expression(self.context, chosen)

    def unary(self, code: int, options: Any = None) -> Expression:
        """An operator of floats that keeps the shape, for instance Op.EXP."""
        made = steps.emit(self.context, code, [self.tensor], self.tensor.shape, options=options)
        return Expression(self.context, made)

    def magnitude(self) -> Expression:
        """|x|."""
        return self.unary(Op.ABS)

    def exp(self) -> Expression:
        """E to the power of x."""
        return self.unary(Op.EXP)

    def relu(self) -> Expression:
        """max(x, 0) of floats."""
        return self.unary(Op.RELU)

    def mean(self, axes: Sequence[int]) -> Expression:
        """The mean over storage axes, which stay with length 1."""
        return Expression(self.context, steps.reduce(self.context, Op.MEAN, self.tensor, axes, True))

    def sum(self, axes: Sequence[int]) -> Expression:
        """The sum over storage axes, which stay with length 1."""
        return Expression(self.context, steps.reduce(self.context, Op.SUM, self.tensor, axes, True))

    def reshape(self, shape: Sequence[int]) -> Expression:
        """The same data under another shape."""
        return Expression(self.context, steps.reshape(self.context, self.tensor, shape))

    def store(self, index: int = 0) -> None:
        """Make this the output `index` of the node, under the shape in which that is stored."""
        shape = self.context.out_shape(index)
        stored = self.reshape([shape[axis] for axis in self.context.layout.outputs[index]])
        steps.store(self.context, stored.tensor, index)


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
    value = context.onnx(index)
    if is_constant(value):
        assert value.const_value is not None
        data = value.const_value.numpy().reshape(whole).transpose(perm)
        return Expression(context, context.const(data, "parameter"))
    own = tuple(sorted(range(len(shape)), key=lambda axis: perm.index(axes[axis])))
    return Expression(context, context.input_as(index, own)).reshape([whole[axis] for axis in perm])
