"""Operators that rearrange elements."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.layout import concatenation, reshape, transposition
from toolchain.converters.tflite.lowering import NodeContext, lowers
from toolchain.converters.tflite.program import Op


@lowers("Concat", layout=concatenation)
def concat(context: NodeContext) -> None:
    """Concat along an axis, wherever it is stored."""
    tensors = [context.input(index) for index in range(len(context.node.inputs))]
    options = schema.ConcatenationOptionsT()
    options.axis = context.axis(context.int("axis"))
    context.emit(Op.CONCATENATION, tensors, context.output(), options)


@lowers("Transpose", layout=transposition)
def transpose(context: NodeContext) -> None:
    """Transpose renames the axes; a consumer that needs another order moves the data."""
    context.alias(context.input())


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze", layout=reshape)
def reshape_like(context: NodeContext) -> None:
    """Operators that keep the elements in order and change only the shape."""
    context.reshape_to_output(context.input())
