"""Resize."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.layout import spatial
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.program import Op


@lowers("Resize", layout=spatial)
def resize(context: NodeContext) -> None:
    """Resize of the two spatial axes by whole factors, nearest."""
    source, target = context.shape(), context.out_shape()
    if context.string("mode", "nearest") != "nearest" or any(
        b % a for a, b in zip(source, target, strict=True)
    ):
        raise Refused("only nearest by whole factors")
    options = schema.ResizeNearestNeighborOptionsT()
    size = context.int_const(target[2:], "size")
    context.emit(Op.RESIZE_NEAREST_NEIGHBOR, [context.input(), size], context.output(), options)
