"""Weights of neural networks (.mlmodel) in float16, or as 8-bit integers per output channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from toolchain.converters.coreml.quiet import import_coremltools
from toolchain.converters.coreml.weights import LINEAR, Kept, WeightReport, quantize

# Layer -> its fields of type WeightParams. Batch normalization stays float32: small variances would vanish.
FIELDS = {
    "convolution": ("weights", "bias"),
    "innerProduct": ("weights", "bias"),
    "batchedMatmul": ("weights", "bias"),
    "embedding": ("weights", "bias"),
    "embeddingND": ("weights", "bias"),
    "scale": ("scale", "bias"),
    "bias": ("bias",),
    "loadConstant": ("data",),
    "loadConstantND": ("data",),
}
KERNELS = ("convolution", "innerProduct", "batchedMatmul")
OFFSET = 128
FLOAT_BYTES = 4


def compress_network(model: Any, report: WeightReport) -> Any:
    """A neural network with its weights in float16, and for "w8" its kernels in 8 bits where that is smaller.

    Args:
        model: coremltools' MLModel with float32 weights.
        report: names the precision ("fp32" changes nothing), and takes what became of the kernels.
    """
    if report.precision not in ("fp16", LINEAR):
        return model
    spec = model.get_spec()
    for layer in _layers(getattr(spec, spec.WhichOneof("Type"))):
        _compress_layer(layer, report)
    return import_coremltools().models.MLModel(spec, skip_model_load=True)


def _layers(network: Any) -> Iterator[Any]:
    for layer in network.layers:
        kind = layer.WhichOneof("layer")
        if kind == "branch":
            yield from _layers(layer.branch.ifBranch)
            yield from _layers(layer.branch.elseBranch)
        elif kind == "loop":
            yield from _layers(layer.loop.conditionNetwork)
            yield from _layers(layer.loop.bodyNetwork)
        else:
            yield layer


def _compress_layer(layer: Any, report: WeightReport) -> None:
    kind = layer.WhichOneof("layer")
    for name in FIELDS.get(kind, ()):
        weights = getattr(getattr(layer, kind), name)
        if not weights.floatValue:
            continue
        if report.precision == LINEAR and kind in KERNELS and name == "weights":
            _to_bytes(layer, weights, report)
        else:
            _to_half(weights)


def _to_half(weights: Any) -> None:
    """Round to float16, unless a number is too large for it or an integer (an index, perhaps) changes."""
    values = np.array(weights.floatValue, np.float32)
    with np.errstate(over="ignore"):
        rounded = values.astype("<f2")
    changed = rounded.astype(np.float32) != values
    if (changed & (np.rint(values) == values)).any() or np.isinf(rounded[np.isfinite(values)]).any():
        return
    del weights.floatValue[:]
    weights.float16Value = rounded.tobytes()


def _to_bytes(layer: Any, weights: Any, report: WeightReport) -> None:
    """Linear, symmetric, per output channel; weights ~ scale * (byte - 128)."""
    values = np.array(weights.floatValue, np.float32)
    shape, axis = _shape(layer, values)
    elements = values.size
    if not np.isfinite(values).all():
        report.kept.append(Kept(layer.name, elements, "is not finite"))
    elif elements + 2 * FLOAT_BYTES * (shape[axis] if axis is not None else 1) >= 2 * elements:
        report.kept.append(Kept(layer.name, elements, "would not get smaller"))
    else:
        integers, scales = quantize(values.reshape(shape), axis) if axis is not None else _whole(values)
        del weights.floatValue[:]
        weights.quantization.numberOfBits = 8
        linear = weights.quantization.linearQuantization
        linear.scale.extend(scales.tolist())
        linear.bias.extend((-OFFSET * scales).tolist())
        weights.rawValue = (integers.astype(np.int16) + OFFSET).astype(np.uint8).tobytes()
        report.compressed += 1
        report.elements += elements
        return
    _to_half(weights)


def _whole(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One scale for the whole weight."""
    return quantize(values.reshape(1, -1), 0)


def _shape(layer: Any, values: np.ndarray) -> tuple[tuple[int, ...], int | None]:
    """(shape, axis of the output channels) of a kernel; None for one scale altogether.

    Transposed convolutions have (input channels, output channels of a group, height, width). The format does
    not say which axis the scales of a grouped one follow, so that it gets a single scale.
    """
    kind = layer.WhichOneof("layer")
    if kind == "innerProduct":
        return (layer.innerProduct.outputChannels, -1), 0
    if kind == "batchedMatmul":
        return (layer.batchedMatmul.weightMatrixSecondDimension, -1), 0
    convolution = layer.convolution
    outputs, inner = int(convolution.outputChannels), int(convolution.kernelChannels)
    if not convolution.isDeconvolution:
        return (outputs, inner, *convolution.kernelSize), 0
    if convolution.nGroups > 1:
        return values.shape, None
    return (inner, outputs, *convolution.kernelSize), 1
