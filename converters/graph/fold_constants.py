"""Computes at conversion time what does not depend on the network's inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.evaluate import NEVER, evaluate_fast, evaluate_reference, fits
from toolchain.converters.graph.infer import has_subgraph, infer_outputs, is_known
from toolchain.converters.graph.rewrite import (
    STANDARD,
    add_initializer,
    attribute,
    bypass,
    constant,
    opset_version,
    remove,
    shape_and_type,
    shape_of,
)


def fold_constants(model: ir.Model) -> bool:
    """Replace nodes whose inputs are all known by initializers, and learn every shape on the way.

    ::

        weight -> Shape -+
                         +-> Expand -> bias -> Conv        bias (initializer) -> Conv
        0.0 -> CastLike -+

    1. One walk in topological order, so that a chain folds in one go: where the shapes of a node's
       outputs are not known yet, they are inferred first.
    2. Shape and Size of a value of static shape are constants, whether or not the value is.
    3. QuantizeLinear and DequantizeLinear stay: they carry the scales. Random operators stay, and strings.
    4. A result is kept only if it takes no more memory than the node's inputs, or is small.
    5. A graph output must be computed by a node: a constant one gets an Identity.

    Raises:
        UnsupportedError: a node contradicts the definition of its operator.
    """
    graph, opset, changed = model.graph, opset_version(model), False
    for node in list(graph):
        results = _results(node, model.opset_imports, opset)
        if results is None:
            changed |= infer_outputs(node, model.opset_imports)
            continue
        for value, array in zip(node.outputs, results, strict=True):
            _store(graph, value, array)
        remove(node)
        changed = True
    return changed


def _results(node: ir.Node, imports: Mapping[str, int], opset: int) -> list[np.ndarray] | None:
    """The arrays of the node's outputs, None when it must stay."""
    if node.domain != STANDARD or node.op_type in NEVER or has_subgraph(node):
        return None
    if node.op_type in ("Shape", "Size"):
        return _dimensions(node)
    if node.op_type == "Identity" and node.outputs[0].is_graph_output():
        return None
    arrays = _constant_inputs(node)
    if arrays is None:
        return None
    try:
        fast = evaluate_fast(node, arrays)
    except Exception:  # Invalid inputs: the inference below names the node.
        fast = None
    if fast is not None:
        return [fast]
    return _slow_results(node, arrays, imports, opset)


def _slow_results(
    node: ir.Node, arrays: list[np.ndarray | None], imports: Mapping[str, int], opset: int
) -> list[np.ndarray] | None:
    """The reference's results, if they are small and have the inferred shapes and types."""
    infer_outputs(node, imports)
    used = [value for value in node.outputs if value.name]
    if len(used) != len(node.outputs) or not all(is_known(value) for value in used):
        return None
    if any(value.dtype is None or value.dtype == ir.DataType.STRING for value in used):
        return None
    if not fits(sum(_bytes(value) for value in used), arrays):
        return None
    try:
        results = [np.asarray(result) for result in evaluate_reference(node, arrays, opset)]
    except Exception:  # The reference lacks this case: the node stays.
        return None
    for value, array in zip(used, results, strict=True):
        if array.shape != shape_of(value) or ir.DataType.from_numpy(array.dtype) != value.dtype:
            return None
    return results


def _bytes(value: ir.Value) -> int:
    shape, dtype = shape_and_type(value)
    return math.ceil(dtype.itemsize * math.prod(shape))


def _constant_inputs(node: ir.Node) -> list[np.ndarray | None] | None:
    """One array per input, None for one that is left out; None altogether unless all are constants."""
    arrays: list[np.ndarray | None] = []
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is None and node.op_type == "CastLike" and index == 1 and value is not None and value.dtype:
            # Only the type of this input matters; the network may compute it.
            array = np.empty(0, value.dtype.numpy())
        if value is not None and (array is None or array.dtype.kind in "OSU"):
            return None
        arrays.append(array)
    return arrays


def _dimensions(node: ir.Node) -> list[np.ndarray] | None:
    shape = shape_of(node.inputs[0])
    if shape is None:
        return None
    if node.op_type == "Size":
        return [np.array(math.prod(shape), np.int64)]
    return [np.array(shape[attribute(node, "start", 0) : attribute(node, "end", len(shape))], np.int64)]


def _store(graph: ir.Graph, value: ir.Value, array: np.ndarray) -> None:
    """Let the readers of `value` read an initializer; as a graph output it comes from an Identity."""
    name = value.name or "constant"
    stored = add_initializer(graph, array, f"{name}.value" if value.is_graph_output() else name)
    if bypass(value, stored):
        return
    node = ir.Node(STANDARD, "Identity", [stored])
    node.outputs[0].shape, node.outputs[0].type = stored.shape, stored.type
    graph.append(node)
    for use in value.uses():
        use.node.replace_input_with(use.idx, stored)
    value.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
    value.name, node.outputs[0].name = None, name
