"""A model without its large weights, for onnx's C++ functions, which copy all they get several times."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

LARGE = 1024
"""Bytes from which an initializer is a weight rather than a shape, an axis or a scale."""


def in_memory(tensor: ir.ExternalTensor) -> ir.Tensor:
    """The same tensor, read from its file."""
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=tensor.shape, name=tensor.name)


def light_proto(model: ir.Model) -> onnx.ModelProto:
    """Serialize the model with each initializer as a graph input too, the large ones without their data."""
    held = {name: value.const_value for name, value in model.graph.initializers.items()}
    stub = ir.Tensor(np.empty(0, np.float32))
    large = {name for name, tensor in held.items() if tensor is not None and tensor.nbytes > LARGE}
    try:
        for name, tensor in held.items():
            if name in large:
                model.graph.initializers[name].const_value = stub
            elif isinstance(tensor, ir.ExternalTensor):
                model.graph.initializers[name].const_value = in_memory(tensor)
        proto = ir.serde.serialize_model(model)
    finally:
        for name, tensor in held.items():
            model.graph.initializers[name].const_value = tensor
    graph = proto.graph
    small = [tensor for tensor in graph.initializer if tensor.name not in large]
    inputs = {value.name for value in graph.input}
    del graph.initializer[:]
    graph.initializer.extend(small)
    for name, tensor in held.items():
        if name not in inputs and tensor is not None:
            shape = tensor.shape.numpy()
            graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.dtype.value, shape))
    return proto
