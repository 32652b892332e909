"""A model for ONNX Runtime whose large weights stay where they are in memory.

Serialized with the model they are copied several times, and a model of more than 2 GB cannot be serialized
at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from toolchain.converters.graph.light_proto import LARGE, in_memory

# Element types of weights that ONNX Runtime takes from numpy. Wider integers are sizes and indices, which it
# needs while it infers shapes, before it has got any weights.
PLAIN = {
    ir.DataType.FLOAT,
    ir.DataType.DOUBLE,
    ir.DataType.FLOAT16,
    ir.DataType.INT8,
    ir.DataType.UINT8,
    ir.DataType.INT16,
    ir.DataType.UINT16,
}
# Where the weights are said to be; ONNX Runtime is given them before it would look there.
NOWHERE = "weights-in-memory"

Weights = dict[str, np.ndarray]


def weights_beside(model: ir.Model, outputs: Sequence[str] | None = None) -> tuple[bytes, Weights]:
    """A model without its large weights, and these.

    Args:
        model: is not changed.
        outputs: names of values that are its outputs instead of its own; None for its own.

    Returns:
        A serialized ModelProto, and by name C-contiguous arrays, which may share their memory with `model`.
    """
    unread = _unread(model, outputs)
    large = {
        name: tensor
        for name, value in model.graph.initializers.items()
        if (tensor := value.const_value) is not None and name not in unread and _is_large(tensor)
    }
    proto = _serialized(model, without={*large, *unread})
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in unread]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    if outputs is not None:
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return proto.SerializeToString(), {name: np.ascontiguousarray(t.numpy()) for name, t in large.items()}


def _is_large(tensor: ir.TensorProtocol) -> bool:
    return tensor.nbytes > LARGE and tensor.dtype in PLAIN


def _unread(model: ir.Model, outputs: Sequence[str] | None) -> set[str]:
    """Initializers that no node reads: ONNX Runtime drops them, and then finds no place for their numbers."""
    read = {value for node in ir.traversal.RecursiveGraphIterator(model.graph) for value in node.inputs}
    read |= set(model.graph.inputs)
    names = {value.name for value in model.graph.outputs} if outputs is None else set(outputs)
    return {
        name for name, value in model.graph.initializers.items() if value not in read and name not in names
    }


def _serialized(model: ir.Model, without: Collection[str]) -> onnx.ModelProto:
    """The model with references in place of the data of some initializers."""
    values = model.graph.initializers
    held = {name: value.const_value for name, value in values.items()}
    try:
        for name, tensor in held.items():
            if tensor is not None and name in without:
                values[name].const_value = _reference(tensor, name)
            elif isinstance(tensor, ir.ExternalTensor):
                values[name].const_value = in_memory(tensor)
        return ir.serde.serialize_model(model)
    finally:
        for name, tensor in held.items():
            values[name].const_value = tensor


def _reference(tensor: ir.TensorProtocol, name: str) -> ir.ExternalTensor:
    """What stands for a tensor in the model."""
    shape = ir.Shape(tensor.shape.numpy())
    return ir.ExternalTensor(NOWHERE, 0, tensor.nbytes, tensor.dtype, shape=shape, name=name)


def session_with(model: ir.Model, options: Any, outputs: Sequence[str] | None = None) -> Any:
    """An ONNX Runtime session of a model; it reads the large weights where they are.

    Args:
        model: any graph that ONNX Runtime runs; arrays of its weights must not be written to afterwards.
        options: SessionOptions; weights are added.
        outputs: as in `weights_beside`.
    """
    import onnxruntime

    content, weights = weights_beside(model, outputs)
    arrays = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), arrays)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # The arrays must live as long as the session, which does not hold them.
    session.weights = weights
    return session
