"""Brings graphs of old operator sets to the oldest one that the passes and targets read."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx import version_converter

from toolchain.converters.graph.fold_constants import fold_constants
from toolchain.converters.graph.lift_constants import lift_constants
from toolchain.converters.graph.light_proto import light_proto
from toolchain.converters.graph.rewrite import STANDARD, attribute, is_op, opset_version, set_attributes
from toolchain.errors import UnsupportedError

OLDEST = 7
TARGET = 18


def raise_opset(model: ir.Model, path: Path) -> None:
    """Convert a model of opset 7 to 17 to opset 18, in place; newer ones stay as they are.

    Constants are folded and shapes inferred first: onnx converts some nodes only if their shapes are known,
    and some contradictory shapes end its process.

    Args:
        model: a graph with static inputs.
        path: the file, for messages.

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
    _refuse_unconverted(model, version, path, hint)
    lift_constants(model)
    fold_constants(model)
    try:
        converted = ir.serde.deserialize_model(version_converter.convert_version(light_proto(model), TARGET))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0].rpartition("failed: ")[2][:300] if lines else type(error).__name__
        raise UnsupportedError(
            f"'{path}' has opset {version} and cannot be converted to {TARGET}: {reason}", hint
        ) from error
    if version <= 10:
        _keep_old_sampling(converted.graph, path, hint)
    _give_weights(converted.graph, model.graph)
    model.graph = converted.graph


def _refuse_unconverted(model: ir.Model, version: int, path: Path, hint: str) -> None:
    """Refuse Hardmax, which works on a matrix before opset 13 and along one axis since: onnx lets it pass."""
    for node in model.graph.all_nodes():
        if version < 13 and is_op(node, "Hardmax"):
            raise UnsupportedError(
                f"'{path}': node '{node.name}' (Hardmax) has no form in opset {TARGET}", hint
            )


def _keep_old_sampling(graph: ir.Graph, path: Path, hint: str) -> None:
    """Write down where Upsample and Resize sample before opset 11; onnx leaves that to the newer defaults.

    They divide the index by the scale and take the pixel before when enlarging, the one after when
    reducing, as ONNX Runtime does.
    """
    for node in graph.all_nodes():
        if not is_op(node, "Resize"):
            continue
        set_attributes(node, coordinate_transformation_mode="asymmetric")
        if attribute(node, "mode", "nearest") != "nearest":
            continue
        scales = node.inputs[2]
        tensor = None if scales is None else ir.convenience.get_const_tensor(scales)
        factors = None if tensor is None else tensor.numpy()
        if factors is None or ((factors < 1).any() and (factors > 1).any()):
            raise UnsupportedError(
                f"'{path}': node '{node.name}' (Resize) enlarges one axis and reduces another,"
                f" or computes its scales: it has no form in opset {TARGET}",
                hint,
            )
        set_attributes(node, nearest_mode="ceil" if (factors < 1).any() else "floor")


def _give_weights(graph: ir.Graph, original: ir.Graph) -> None:
    """Make the inputs that stand for initializers of the original graph initializers again."""
    inputs = list(graph.inputs)
    graph.inputs.clear()
    for value in inputs:
        weight = original.initializers.get(value.name or "")
        if weight is None:
            graph.inputs.append(value)
        elif not value.is_initializer():
            value.const_value = weight.const_value
            graph.register_initializer(value)
