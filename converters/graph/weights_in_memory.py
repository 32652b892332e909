"""Takes weights out of the protobuf messages that they were read from."""

from __future__ import annotations

import onnx_ir as ir


def weights_in_memory(model: ir.Model) -> bool:
    """Hold as an array every initializer of the main graph that is held as a message.

    A message copies its bytes each time that it is asked for them: what reads weights many times reads them
    ten times as fast afterwards. Tensors in files of their own stay there.
    """
    held = [
        value
        for value in model.graph.initializers.values()
        if isinstance(value.const_value, ir.TensorProtoTensor)
        and value.const_value.dtype != ir.DataType.STRING
    ]
    for value in held:
        tensor = value.const_value
        assert tensor is not None
        value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
    return bool(held)
