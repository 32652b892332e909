"""Pairs of QuantizeLinear and DequantizeLinear: activations in 8 bits, from iOS 17 on.

They stay what they are: `quantize` and `dequantize` around every operator. This is the form that coremltools
makes of quantized PyTorch networks, and from which the Neural Engines since A17 Pro and M4 compute with 8-bit
integers. Constants behind a DequantizeLinear are floats here already, see `quantized_constants`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.converters.coreml.goal import QUANTIZED_IOS
from toolchain.converters.coreml.lowering import Lowering, NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.node_view import Refused

TYPES = ("int8", "uint8")
HALF = np.finfo(np.float16)
NO_PAIRS = "leave the layer float when quantizing, or export with -f onnx"


@dataclass(frozen=True)
class _Parameters:
    """Scale, zero point and axis of a node, as MIL's operators take them."""

    scale: np.ndarray | np.generic
    zero_point: np.ndarray | np.generic
    axis: int | None

    def named(self, lowering: Lowering) -> dict[str, Var]:
        named = {"scale": lowering.shared(self.scale), "zero_point": lowering.shared(self.zero_point)}
        return named if self.axis is None else {**named, "axis": lowering.shared(np.int32(self.axis))}


@lowers("QuantizeLinear")
def quantize_linear(context: NodeContext) -> None:
    """QuantizeLinear to int8 or uint8, with one scale, or one for each index of an axis."""
    context.require_ios(QUANTIZED_IOS, "QuantizeLinear")
    stored = context.node.outputs[0].dtype
    dtype = "unknown" if stored is None else stored.name.lower()
    found = _parameters(context, dtype)
    if context.dtype() != np.float32:
        raise Refused(f"QuantizeLinear of {context.dtype()}", "quantize float32 values")
    x = context.input()
    x = x if x.rank else mb.expand_dims(x=x, axes=[0])
    y = mb.quantize(input=x, output_dtype=context.lowering.shared(dtype), **found.named(context.lowering))
    context.store(_shaped(context, y))


@lowers("DequantizeLinear")
def dequantize_linear(context: NodeContext) -> None:
    """DequantizeLinear of what QuantizeLinear made."""
    context.require_ios(QUANTIZED_IOS, "DequantizeLinear")
    found = _parameters(context, context.dtype().name)
    if context.is_constant(0):
        raise Refused("a constant that is an output of the network", "leave it out of the network's outputs")
    x = context.input()
    x = x if x.rank else mb.expand_dims(x=x, axes=[0])
    context.store(_shaped(context, mb.dequantize(input=x, **found.named(context.lowering))))


def _shaped(context: NodeContext, made: Var) -> Var:
    """The operators take no single numbers, which have an axis while they do."""
    return made if context.shape() else mb.squeeze(x=made, axes=[0])


def _parameters(context: NodeContext, dtype: str) -> _Parameters:
    kind = context.node.op_type
    if dtype not in TYPES:
        raise Refused(f"{kind} with {dtype}", f"Core ML quantizes activations to int8 or uint8; {NO_PAIRS}")
    if context.int("block_size", 0):
        raise Refused(f"{kind} with block_size", f"quantize with one scale for a tensor; {NO_PAIRS}")
    scale = context.constant(1, "the scale")
    zero_point = context.optional_constant(2, "the zero point")
    if scale.dtype != np.float32:
        raise Refused(f"{kind} with scales of {scale.dtype}", "quantize with float32 scales")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise Refused(f"{kind} with the scale {scale.min():g}", "scales are positive numbers: quantize again")
    points = np.zeros(scale.shape, dtype) if zero_point is None else zero_point.astype(dtype)
    scale = _rounded(context, scale, points) if context.goal.half else scale
    if scale.size == 1:
        return _Parameters(scale.reshape(())[()], points.reshape(())[()], None)
    return _Parameters(scale, points, context.int("axis", 1) % len(context.shape()))


def _rounded(context: NodeContext, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """Scales as float16 holds them; none becomes 0.

    Both nodes of a pair get the same one, so that only the range changes a little.

    Raises:
        Refused: numbers of the range are beyond float16.
    """
    limits = np.iinfo(zero_point.dtype)
    points = zero_point.astype(np.float64)
    reach = float((np.maximum(limits.max - points, points - limits.min) * scale).max())
    if reach > HALF.max:
        raise Refused(
            f"the range of '{context.onnx(0).name}' reaches {reach:g}, float16 ends at {HALF.max:g}",
            "scale the values down in the network, or export with -f tflite",
        )
    return np.maximum(scale, HALF.smallest_subnormal).astype(np.float16).astype(np.float32)
