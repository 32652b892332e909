"""Brings graphs of old operator sets to the oldest one that the passes and targets read."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx import version_converter
from toolchain.converters.graph.rewrite import STANDARD, opset_version

from toolchain.errors import UnsupportedError

OLDEST = 7
TARGET = 18
LARGE = 1024
"""Bytes from which a weight is kept away from the converter, which copies the whole model several times."""


def raise_opset(model: ir.Model, path: Path) -> None:
    """Convert a model of opset 7 to 17 to opset 18, in place; newer ones stay as they are.

    Raises:
        UnsupportedError: the opset is older than 7, or onnx has no way to convert a node.
    """
    if STANDARD not in model.opset_imports:
        return
    version = opset_version(model)
    if version >= TARGET:
        return
    hint = "export the network again with opset 18"
    if version < OLDEST:
        raise UnsupportedError(f"'{path}' has opset {version}; the oldest supported one is {OLDEST}", hint)
    weights = _detach(model.graph)
    try:
        converted = ir.serde.deserialize_model(
            version_converter.convert_version(ir.serde.serialize_model(model), TARGET)
        )
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        raise UnsupportedError(
            f"'{path}' has opset {version} and cannot be converted to {TARGET}: {reason}", hint
        ) from error
    _attach(converted.graph, weights)
    model.graph = converted.graph


def _detach(graph: ir.Graph) -> dict[str, ir.TensorProtocol]:
    """Turn all initializers into inputs, as the converter wants them; large ones without their data."""
    large: dict[str, ir.TensorProtocol] = {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        assert tensor is not None
        value.shape, value.type = ir.Shape(tensor.shape), ir.TensorType(tensor.dtype)
        graph.inputs.append(value)
        if tensor.nbytes > LARGE:
            large[name] = tensor
            del graph.initializers[name]
    return large


def _attach(graph: ir.Graph, large: dict[str, ir.TensorProtocol]) -> None:
    """Give the detached weights back and drop them from the inputs."""
    inputs = list(graph.inputs)
    graph.inputs.clear()
    for value in inputs:
        if value.name in large:
            value.const_value = large[value.name]
            graph.register_initializer(value)
        elif not value.is_initializer():
            graph.inputs.append(value)
