"""Changes of the element type."""

from __future__ import annotations

from toolchain.converters.tflite.layout import along_axes
from toolchain.converters.tflite.lowering import NodeContext, lowers
from toolchain.converters.tflite.ops import steps


@lowers("Cast", "CastLike", layout=along_axes)
def cast(context: NodeContext) -> None:
    """Cast to the type of the output.

    Integers wrap around, floats are cut towards zero, everything but 0 is true. Floats outside of the
    range of an integer type have no defined result in ONNX, and runtimes differ.
    """
    found = context.node.outputs[0].dtype
    assert found is not None
    steps.store(context, steps.cast(context, context.input(), found.numpy()))
