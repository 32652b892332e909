"""Bias correction: what quantization moves the mean of a channel by goes into the bias."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import is_op
from toolchain.converters.quantize.channel_statistics import Sample, channel_statistics, session_of
from toolchain.converters.quantize.walk import Walk, real
from toolchain.converters.quantize.weighted_layers import WeightedLayer, weighted_layers

MOST_SAMPLES = 32
"""Samples beyond these change channel means by less than their rounding does, and would only fill memory."""


def correct_biases(quantized: ir.Model, model: ir.Model, samples: Iterable[Sample]) -> int:
    """Make each output channel's mean that of the float network, layer by layer in the order of the graph.

        b <- b + E[W x + b_float] - E[W_q x_q + b]

    x_q is what the quantized layers before, already corrected, hand on. Since a layer is linear, its mean
    output is its output for the mean input (padding included), so that one run for each layer suffices.

    Source: Nagel et al. 2019 (arXiv:1906.04721), section 4.2, with measured in place of assumed means.

    Args:
        quantized: graph with pairs, changed in place.
        model: the float graph that it was made from.
        samples: calibration samples; the first 32 are used.

    Returns:
        Number of layers corrected. Products without a bias (MatMul) and layers with float input stay.
    """
    given = [sample for sample, _ in zip(samples, range(MOST_SAMPLES), strict=False)]
    layers = weighted_layers(quantized, model)
    axes = {layer.twin.outputs[0].name or "": output_axis(layer) for layer in layers}
    goals = channel_statistics(model, axes, given)
    walk = Walk(quantized, given)
    changed = 0
    for layer, held in walk.inputs(layers):
        mean = sum(real(layer.source, array).astype(np.float64) for array in held) / len(held)
        found = _mean_output(quantized, layer, np.asarray(mean, np.float32))
        goal = goals[layer.twin.outputs[0].name or ""].mean
        changed += layer.set_bias(layer.bias + goal - found)
    return changed


def output_axis(layer: WeightedLayer) -> int:
    """Axis of the output that holds the channels."""
    shape = layer.twin.outputs[0].shape
    return len(shape) - 1 if layer.node.op_type in ("MatMul", "Gemm") else 1  # type: ignore[arg-type]


def _mean_output(quantized: ir.Model, layer: WeightedLayer, x: np.ndarray) -> np.ndarray:
    """Mean of each output channel of the layer for one input."""
    shape = ir.Shape(x.shape)
    source = ir.Value(name="x", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    constants = [("w", layer.weights.astype(np.float32))]
    if not is_op(layer.node, "MatMul"):
        constants.append(("b", layer.bias.astype(np.float32)))
    values = [
        ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(array, name=name),
        )
        for name, array in constants
    ]
    node = ir.Node("", layer.node.op_type, [source, *values], list(layer.node.attributes.values()))
    node.outputs[0].name, node.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [source],
        node.outputs,
        nodes=[node],
        initializers=values,
        opset_imports=dict(quantized.opset_imports),
        name="layer",
    )
    (y,) = session_of(ir.Model(graph, ir_version=quantized.ir_version)).run(None, {"x": x})
    axis = output_axis(layer) % y.ndim
    return y.mean(axis=tuple(a for a in range(y.ndim) if a != axis), dtype=np.float64)
