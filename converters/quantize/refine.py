"""Refine a quantized graph layer by layer: round weights so that outputs match the float network's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import attribute, constant, input_at, is_op, sole_consumer
from toolchain.converters.quantize.bias_correction import output_axis
from toolchain.converters.quantize.channel_statistics import Sample
from toolchain.converters.quantize.integer_nodes import is_fusible
from toolchain.converters.quantize.patches import choose_positions, float_rows, input_patches, rows_of
from toolchain.converters.quantize.rounding import Reconstruction, adaptive_rounding
from toolchain.converters.quantize.walk import Walk, parameters
from toolchain.converters.quantize.weighted_layers import WeightedLayer, weighted_layers
from toolchain.errors import UsageError

ROWS = 4096
"""Rows (output positions) that a layer is fitted to, over all samples."""

MOST_SAMPLES = 32
ITERATIONS = 600

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Refined:
    """One layer.

    Attributes:
        layer: name of the operator.
        error: squared error of the output on rows kept apart, relative to that of rounding to nearest;
            1 where that stayed.
        changed: share of weights that are no longer rounded to nearest.
    """

    layer: str
    error: float
    changed: float


def refine(
    quantized: ir.Model,
    model: ir.Model,
    samples: Iterable[Sample],
    iterations: int = ITERATIONS,
    seconds: float | None = None,
    progress: Progress = lambda _done, _total, _layer: None,
) -> list[Refined]:
    """Round the weights of Conv, Gemm and MatMul adaptively, in place; biases are fitted along.

    Each layer reads what the quantized layers before it make and is fitted to what the float network makes.
    Where its output goes into a residual sum alone, it is fitted to the float sum less the quantized other
    operand, so that it takes back what was lost on the other branch. ConvTranspose stays as it is.

    Args:
        quantized: graph with pairs; scales should be searched and biases corrected before.
        model: the float graph that it was made from.
        samples: calibration samples, of which the first 32 are used.
        iterations: steps for each layer.
        seconds: time limit for each layer; with it, the result depends on the machine.
        progress: called with (done, total, layer) as each layer begins.

    Returns:
        One entry for each layer in the order of the graph.

    Raises:
        UsageError: there are no samples.
    """
    given = [sample for sample, _ in zip(samples, range(MOST_SAMPLES), strict=False)]
    if not given:
        raise UsageError("there are no calibration samples", "give some with --calibration")
    layers = [layer for layer in weighted_layers(quantized, model) if _can_refine(layer)]
    goals = {layer.name: _goal(layer) for layer in layers}
    positions = _positions(layers, len(given))
    axes = {goals[layer.name].name or "": output_axis(layer) for layer in layers}
    by_value = [{goals[name].name or "": rows for name, rows in chosen.items()} for chosen in positions]
    targets = float_rows(model, axes, by_value, given)
    walk = Walk(quantized, given)
    report: list[Refined] = []
    for layer, held in walk.inputs(layers):
        progress(len(report), len(layers), layer.name)
        chosen = [each[layer.name] for each in positions]
        goal = targets[goals[layer.name].name or ""]
        if goals[layer.name] is not layer.twin.outputs[0]:
            goal = goal - _other_rows(walk, layer, chosen)
        patches = np.concatenate([input_patches(layer, x, p) for x, p in zip(held, chosen, strict=True)])
        report.append(_refine_layer(layer, patches, goal, iterations, seconds))
    return report


def _refine_layer(
    layer: WeightedLayer, patches: np.ndarray, goal: np.ndarray, iterations: int, seconds: float | None
) -> Refined:
    scale, zero = parameters(layer.source) or (1.0, 0)
    low, high = _bounds(layer)
    groups = attribute(layer.node, "group", 1)
    step = np.broadcast_to(layer.scale, (layer.outputs,)) if layer.scale.size == 1 else layer.scale
    task = Reconstruction(
        patches, scale, zero, goal, _grouped(layer, layer.float_weights, groups), step, layer.bias, low, high
    )
    found = adaptive_rounding(task, iterations, seconds)
    if found is None:
        return Refined(layer.name, 1.0, 0.0)
    stored = found.stored.reshape(layer.outputs, -1)
    weights = layer.float_weights
    stored = stored.T if _is_turned(layer) else stored
    changed = float((stored.reshape(weights.shape) != np.rint(weights / layer.along(layer.scale))).mean())
    layer.set_weights(stored.reshape(weights.shape))
    layer.set_bias(found.bias)
    return Refined(layer.name, found.error, changed)


def _grouped(layer: WeightedLayer, weights: np.ndarray, groups: int) -> np.ndarray:
    """(groups, outputs of a group, K)."""
    rows = weights.T if _is_turned(layer) else weights
    return np.ascontiguousarray(rows).reshape(groups, layer.outputs // groups, -1)


def _is_turned(layer: WeightedLayer) -> bool:
    """Whether the weights are stored as (inputs, outputs)."""
    if layer.node.op_type == "Gemm":
        return not attribute(layer.node, "transB", 0)
    return layer.node.op_type == "MatMul"


def _can_refine(layer: WeightedLayer) -> bool:
    node = layer.node
    if node.op_type == "Gemm":
        plain = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
        return plain and not attribute(node, "transA", 0)
    return node.op_type == "Conv" or (node.op_type == "MatMul" and layer.float_weights.ndim == 2)


def _goal(layer: WeightedLayer) -> ir.Value:
    """The float value that the layer is fitted to: the residual sum that it ends in, or its own output."""
    output = layer.twin.outputs[0]
    reader = sole_consumer(output)
    if not is_op(reader, "Add") or _other(layer) is None:
        return output
    total = reader.outputs[0]  # type: ignore[union-attr]
    after = sole_consumer(total)
    return output if after is not None and is_fusible(after) else total


def _other(layer: WeightedLayer) -> ir.Value | None:
    """The quantized other operand of the sum that the layer ends in, if it is made before the layer runs."""
    value = layer.node.outputs[0]
    for _ in ("QuantizeLinear", "DequantizeLinear"):
        reader = sole_consumer(value)
        if is_op(reader, "QuantizeLinear", "DequantizeLinear"):
            value = reader.outputs[0]  # type: ignore[union-attr]
    reader = sole_consumer(value)
    if not is_op(reader, "Add"):
        return None
    others = [each for each in reader.inputs if each is not value]  # type: ignore[union-attr]
    if len(others) != 1 or others[0] is None or constant(others[0]) is not None:
        return None
    if others[0].shape != layer.node.outputs[0].shape or not _is_before(others[0], layer.node):
        return None
    return others[0]


def _is_before(value: ir.Value, node: ir.Node) -> bool:
    producer, graph = value.producer(), node.graph
    if producer is None:
        return True
    for each in graph:  # type: ignore[union-attr]
        if each is node:
            return False
        if each is producer:
            return True
    return False


def _other_rows(walk: Walk, layer: WeightedLayer, chosen: Sequence[np.ndarray]) -> np.ndarray:
    other = _other(layer)
    assert other is not None
    arrays = walk.read(other)
    assert arrays is not None
    axis = output_axis(layer)
    return np.concatenate([rows_of(array, axis, rows) for array, rows in zip(arrays, chosen, strict=True)])


def _bounds(layer: WeightedLayer) -> tuple[float, float]:
    reader = sole_consumer(layer.node.outputs[0])
    if reader is None or not is_fusible(reader):
        return -np.inf, np.inf
    if reader.op_type == "Relu":
        return 0.0, np.inf
    low, high = (constant(input_at(reader, index)) for index in (1, 2))
    return (-np.inf if low is None else float(low)), (np.inf if high is None else float(high))


def _positions(layers: Sequence[WeightedLayer], samples: int) -> list[Mapping[str, np.ndarray]]:
    random = np.random.default_rng(0)
    each = -(-ROWS // samples)
    return [
        {
            layer.name: choose_positions(
                layer.twin.outputs[0].shape.numpy(),  # type: ignore[union-attr]
                output_axis(layer),
                each,
                random,
            )
            for layer in layers
        }
        for _ in range(samples)
    ]
