"""Ranges of weights that lose least: a scale for each output channel, searched by squared error."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import attribute
from toolchain.converters.quantize.channel_statistics import Sample, channel_statistics
from toolchain.converters.quantize.scheme import WEIGHT_MOST
from toolchain.converters.quantize.weighted_layers import WeightedLayer, weighted_layers

SHARES = np.linspace(1.0, 0.4, 61)
"""Candidates: the range as a share of the largest weight."""


def search_weight_ranges(
    quantized: ir.Model, model: ir.Model, samples: Iterable[Sample] | None = None
) -> int:
    """Choose for each channel the scale that minimizes sum_i h_i (w_i - q(w_i))^2, in place.

    h_i is the mean square of the input channel that w_i multiplies, so that the sum is the error of the
    output for uncorrelated inputs; without samples all h_i are 1. Integers, scales and the bias's integers
    are written anew.

    Args:
        quantized: graph with pairs.
        model: the float graph that it was made from.
        samples: calibration samples.

    Returns:
        Number of channels whose scale changed.
    """
    layers = weighted_layers(quantized, model)
    inputs = {layer.twin.inputs[0].name or "": input_axis(layer) for layer in layers}  # type: ignore[union-attr]
    known = {} if samples is None else channel_statistics(model, inputs, samples)
    changed = 0
    for layer in layers:
        figures = known.get(layer.twin.inputs[0].name or "")  # type: ignore[union-attr]
        importance = None if figures is None else _importance(layer, figures.mean_square)
        scale = best_scale(layer, importance)
        changed += int((scale != layer.scale).sum())
        layer.set_weights(np.rint(layer.float_weights / layer.along(scale)), scale)
    return changed


def input_axis(layer: WeightedLayer) -> int:
    """Axis of the input that holds the channels."""
    shape = layer.twin.inputs[0].shape  # type: ignore[union-attr]
    return len(shape) - 1 if layer.node.op_type in ("MatMul", "Gemm") else 1  # type: ignore[arg-type]


def best_scale(layer: WeightedLayer, importance: np.ndarray | None) -> np.ndarray:
    """The scales (float32) with the least weighted squared error, of those in `SHARES` of the full range.

    Args:
        layer: gives the weights.
        importance: weight of each squared error, broadcasting against the weights; None for 1.
    """
    weights = layer.float_weights.astype(np.float32)
    others = tuple(a for a in range(weights.ndim) if layer.axis is None or a != layer.axis)
    most = np.abs(weights).max(axis=others, initial=0.0).reshape(-1)
    full = np.where(most > 0, most / np.float32(WEIGHT_MOST), np.float32(1.0)).astype(np.float32)
    best, least = full, np.full(full.shape, np.inf)
    for share in SHARES:
        scale = (full * share).astype(np.float32)
        step = layer.along(scale)
        error = np.square(weights - np.clip(np.rint(weights / step), -WEIGHT_MOST, WEIGHT_MOST) * step)
        if importance is not None:
            error = error * importance
        found = error.sum(axis=others, dtype=np.float64).reshape(-1)
        best, least = np.where(found < least, scale, best), np.minimum(found, least)
    return best


def _importance(layer: WeightedLayer, squares: np.ndarray) -> np.ndarray:
    """Mean squares of the input channels, in the shape of the weights."""
    weights, node = layer.float_weights, layer.node
    if node.op_type in ("Gemm", "MatMul"):
        turned = node.op_type == "Gemm" and attribute(node, "transB", 0)
        return squares.reshape((1, -1) if turned else (-1, 1))
    groups = attribute(node, "group", 1)
    if node.op_type == "ConvTranspose":
        return squares.reshape(-1, *[1] * (weights.ndim - 1))
    each = squares.reshape(groups, -1)
    return np.repeat(each, weights.shape[0] // groups, axis=0).reshape(
        *weights.shape[:2], *[1] * (weights.ndim - 2)
    )
