"""Constants of a quantized graph: floats for the handlers, integers in the file.

Handlers and coremltools' passes turn, pad and fold float weights. What they made is brought back to integers
at the end by numbers alone: weights that lie on the grid of a constant's scales are stored with these scales.
That is exact up to float16's rounding, whichever constant the scales belonged to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.graph.rewrite import (
    add_initializer,
    attribute,
    bypass,
    constant,
    input_at,
    is_op,
    remove,
)

STORED = ("int8", "uint8")
# Relative error of a product of a scale and an integer in float16, and of numbers near zero.
RELATIVE = 2.0**-10
ABSOLUTE = 2.0**-24
# Steps by which rounding a scale to float16 may move the largest integer.
MOST_MOVED = 0.25


@dataclass(frozen=True)
class Integers:
    """A weight as it is stored: real = scale * (data - zero_point).

    Attributes:
        data: int8 or uint8, of the weight's shape.
        scale: of the weight's float type, one or one for each index of `axis`.
        zero_point: of the data's type, as many as scales.
        axis: the axis that the scales belong to.
    """

    data: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int


def release_constants(graph: ir.Graph) -> tuple[Quantization, ...]:
    """Compute every DequantizeLinear of an initializer.

    ::

        w (int8 initializer) -> DequantizeLinear -> Conv        w (float initializer) -> Conv

    Returns:
        How the constants of 8 bits were stored, each way once, in the order of the graph. Nodes whose scales
        are not constant or belong to blocks stay, and so do those that make an output of the graph.
    """
    found: dict[tuple[bytes, ...], Quantization] = {}
    for node in list(graph):
        data = constant(node.inputs[0]) if is_op(node, "DequantizeLinear") else None
        stored = _parameters(node, data) if data is not None else None
        if data is None or stored is None or node.outputs[0].is_graph_output():
            continue
        value = node.outputs[0]
        made = add_initializer(graph, stored.real(data), f"{value.name}.constant")
        if not bypass(value, made):
            continue
        remove(node)
        if stored.dtype.name in STORED:
            key = (stored.scale.tobytes(), stored.zero_point.tobytes(), stored.dtype.name.encode())
            found.setdefault(key, stored)
    return tuple(found.values())


def _parameters(node: ir.Node, data: np.ndarray) -> Quantization | None:
    """None where they are not constant, of another kind, or scales of blocks."""
    scale, given = constant(node.inputs[1]), input_at(node, 2)
    zero_point = constant(given)
    if scale is None or (given is not None and zero_point is None) or scale.dtype != np.float32:
        return None
    if attribute(node, "block_size", 0) or scale.ndim > 1:
        return None
    points = np.zeros(scale.size, np.int64) if zero_point is None else zero_point.astype(np.int64).reshape(-1)
    axis = None if scale.size == 1 else attribute(node, "axis", 1) % data.ndim
    return Quantization(scale.reshape(-1), points, data.dtype, axis)


def on_grid(weights: np.ndarray, axis: int, grids: Iterable[Quantization]) -> Integers | None:
    """The weights as integers of one of the grids; None when they lie on none.

    Args:
        weights: float16 or float32.
        axis: of the output channels, where scales are looked for first.
        grids: ways in which constants of the graph were stored.
    """
    if not np.isfinite(weights).all():
        return None
    exact = weights.astype(np.float64)
    for grid in grids:
        for place in _places(weights.shape, axis, len(grid.scale)):
            made = _integers(exact, grid, place, weights.dtype)
            if made is not None:
                return made
    return None


def _places(shape: tuple[int, ...], axis: int, scales: int) -> list[int]:
    """Axes that the scales may belong to; the output channels' for a single one."""
    if scales == 1:
        return [axis]
    others = (place for place in range(len(shape)) if place != axis)
    return [place for place in (axis, *others) if shape[place] == scales]


def _integers(exact: np.ndarray, grid: Quantization, axis: int, dtype: np.dtype) -> Integers | None:
    along = [-1 if place == axis else 1 for place in range(exact.ndim)]
    scale = grid.scale.astype(np.float64).reshape(along)
    zero = grid.zero_point.reshape(along)
    steps = np.rint(exact / scale)
    limits = np.iinfo(grid.dtype)
    inside = (steps + zero >= limits.min) & (steps + zero <= limits.max)
    near = np.abs(exact - steps * scale) <= np.abs(exact) * RELATIVE + ABSOLUTE
    if not (inside & near).all():
        return None
    kept = _stored_scale(scale, steps, dtype)
    moved = np.abs(kept / scale - 1) * np.abs(steps).max(initial=0) > MOST_MOVED
    steps = np.where(moved, np.rint(exact / kept), steps)
    data = np.clip(steps + zero, limits.min, limits.max).astype(grid.dtype)
    return Integers(data, kept.reshape(-1).astype(dtype), grid.zero_point.astype(grid.dtype), axis)


def _stored_scale(scale: np.ndarray, steps: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Scales as the file holds them: the nearest, or where that one is too coarse the next larger."""
    near = scale.astype(dtype)
    larger = np.where(near < scale, np.nextafter(near, dtype.type(np.inf)), near)
    coarse = np.abs(near / scale - 1) * np.abs(steps).max(initial=0) > MOST_MOVED
    return np.where(coarse, larger, near).astype(np.float64)
