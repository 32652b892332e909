"""What a layer reads and should make at chosen positions: as many rows, whatever the samples' size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import add_initializer, attribute
from toolchain.converters.quantize.channel_statistics import Sample, session_of
from toolchain.converters.quantize.walk import parameters
from toolchain.converters.quantize.weighted_layers import WeightedLayer


def choose_positions(shape: Sequence[int], axis: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Distinct indices of output positions (all axes but that of the channels, flattened), sorted."""
    total = int(np.prod(shape)) // shape[axis]
    if total <= count:
        return np.arange(total)
    return np.sort(random.choice(total, count, replace=False))


def float_rows(
    model: ir.Model,
    axes: Mapping[str, int],
    positions: Sequence[Mapping[str, np.ndarray]],
    samples: Sequence[Sample],
) -> dict[str, np.ndarray]:
    """Values of the float network at chosen positions.

    Args:
        model: the float graph; it is not changed.
        axes: value name -> axis of the channels.
        positions: value name -> flat positions, for each sample.
        samples: {input name: array} each.

    Returns:
        Value name -> (rows, channels) float32, the samples one after the other.
    """
    probed = model.clone()
    graph = probed.graph
    values = {value.name: value for node in graph for value in node.outputs}
    graph.outputs.clear()
    for name, axis in axes.items():
        _pick_rows(graph, values[name], axis)
    session = session_of(probed)
    made: dict[str, list[np.ndarray]] = {name: [] for name in axes}
    for sample, chosen in zip(samples, positions, strict=True):
        feeds = {**sample, **{f"{name}:positions": chosen[name] for name in axes}}
        for name, rows in zip(axes, session.run([f"{name}:rows" for name in axes], feeds), strict=True):
            made[name].append(rows)
    return {name: np.concatenate(rows) for name, rows in made.items()}


def _pick_rows(graph: ir.Graph, value: ir.Value, axis: int) -> None:
    assert value.shape is not None
    shape = value.shape.numpy()
    order = [a for a in range(len(shape)) if a != axis % len(shape)] + [axis % len(shape)]
    turn = ir.node("Transpose", [value], {"perm": order})
    flat = add_initializer(graph, np.array([-1, shape[axis]], np.int64), f"{value.name}:flat")
    rows = ir.node("Reshape", [turn.outputs[0], flat])
    chosen = ir.Value(
        name=f"{value.name}:positions", shape=ir.Shape([None]), type=ir.TensorType(ir.DataType.INT64)
    )
    pick = ir.node("Gather", [rows.outputs[0], chosen], {"axis": 0})
    made = pick.outputs[0]
    made.name, made.type = f"{value.name}:rows", ir.TensorType(ir.DataType.FLOAT)
    made.shape = ir.Shape([None, shape[axis]])
    graph.extend([turn, rows, pick])
    graph.inputs.append(chosen)
    graph.outputs.append(made)


def rows_of(array: np.ndarray, axis: int, positions: np.ndarray) -> np.ndarray:
    """(rows, channels) of an array at flat positions, as `float_rows` picks them."""
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])[positions]


def input_patches(layer: WeightedLayer, held: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """What the layer multiplies with its weights at output positions, in the type in which it is held.

    Args:
        layer: Conv, Gemm or MatMul.
        held: one sample of its input, (N, C, spatial...) for Conv, (..., K) else.
        positions: flat output positions.

    Returns:
        (rows, groups, K), K = input channels of a group times kernel elements.
    """
    if layer.node.op_type in ("Gemm", "MatMul"):
        return held.reshape(-1, held.shape[-1])[positions][:, None, :]
    kernel = layer.float_weights.shape[2:]
    rank = len(kernel)
    strides = attribute(layer.node, "strides", (1,) * rank)
    dilations = attribute(layer.node, "dilations", (1,) * rank)
    output = layer.twin.outputs[0].shape.numpy()[2:]  # type: ignore[union-attr]
    pads = _pads(layer.node, held.shape[2:], output, kernel, strides, dilations)
    found = parameters(layer.source)
    padded = np.pad(held, [(0, 0), (0, 0), *pads], constant_values=0 if found is None else found[1])
    batch, *places = np.unravel_index(positions, (held.shape[0], *output))
    index = []
    for axis, place in enumerate(places):
        steps = place[:, None] * strides[axis] + np.arange(kernel[axis]) * dilations[axis]
        index.append(steps.reshape(-1, *[kernel[axis] if a == axis else 1 for a in range(rank)]))
    first = batch.reshape(-1, *[1] * rank)
    patches = np.moveaxis(padded, 1, -1)[(first, *index)]
    groups = attribute(layer.node, "group", 1)
    return np.ascontiguousarray(np.moveaxis(patches, -1, 1)).reshape(len(positions), groups, -1)


def _pads(
    node: ir.Node,
    size: Sequence[int],
    output: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    mode, rank = attribute(node, "auto_pad", "NOTSET"), len(kernel)
    if mode == "NOTSET":
        given = attribute(node, "pads", (0,) * (2 * rank))
        return [(given[axis], given[axis + rank]) for axis in range(rank)]
    pads = []
    for axis in range(rank):
        needed = (output[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1 - size[axis]
        needed = max(needed, 0) if mode != "VALID" else 0
        small, large = needed // 2, needed - needed // 2
        pads.append((small, large) if mode != "SAME_LOWER" else (large, small))
    return pads
