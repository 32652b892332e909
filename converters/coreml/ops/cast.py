"""Changes of the element type."""

from __future__ import annotations

from toolchain.converters.coreml.lowering import COMPUTED_TYPES, NodeContext, lowers
from toolchain.converters.coreml.ops.arithmetic import cast as changed


@lowers("Cast", "CastLike")
def cast(context: NodeContext) -> None:
    """Cast to the type of the output.

    Floats are cut towards zero, everything but 0 is true. Floats outside of the range of an integer type
    have no defined result in ONNX, and runtimes differ.
    """
    wanted = COMPUTED_TYPES[context.node.outputs[0].dtype]  # type: ignore[index]
    context.store(changed(context.input(), wanted))
