"""Quantization parameters of values, read off QuantizeLinear/DequantizeLinear pairs.

The targets lower the float graph that a quantized one stands for, and ask for each value how it is stored:
all rules of layout and fusion stay the same then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    add_initializer,
    attribute,
    bypass,
    constant,
    input_at,
    is_op,
    remove,
)
from toolchain.errors import Refusal, UnsupportedOpsError

KEY = "quantization"
# Bytes of integers that float32 holds exactly.
NARROW = 2


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (stored - zero_point).

    Attributes:
        scale: float32, one number, or one per index of `axis`.
        zero_point: of the stored type's range, int64, as many as scales.
        dtype: stored type: int8, uint8, int16, uint16 or int32.
        axis: the axis that the scales belong to, None for one scale.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: np.dtype
    axis: int | None = None

    def same(self, other: Quantization | None) -> bool:
        """Whether the stored numbers mean the same."""
        return (
            other is not None
            and self.dtype == other.dtype
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    def stored(self, real: np.ndarray) -> np.ndarray:
        """Round half to even and saturate, as QuantizeLinear does."""
        limits = np.iinfo(self.dtype)
        scale, zero = self.along(self.scale, real.ndim), self.along(self.zero_point, real.ndim)
        # In place: weights of large networks are hundreds of megabytes.
        steps = np.asarray(real / scale)
        np.rint(steps, out=steps)
        steps += zero
        np.clip(steps, limits.min, limits.max, out=steps)
        return steps.astype(self.dtype)

    def real(self, stored: np.ndarray) -> np.ndarray:
        """The numbers that stored ones stand for, float32."""
        scale, zero = self.along(self.scale, stored.ndim), self.along(self.zero_point, stored.ndim)
        if self.dtype.itemsize > NARROW:
            return ((stored.astype(np.int64) - zero) * scale).astype(np.float32)
        # Differences of narrow integers are exact in float32, and the product is rounded once either way.
        steps = np.asarray(stored.astype(np.float32) - zero.astype(np.float32))
        steps *= scale.astype(np.float32)
        return steps

    def along(self, values: np.ndarray, rank: int) -> np.ndarray:
        """Scales or zero points in a shape that broadcasts against an array of this rank."""
        if self.axis is None:
            return values.reshape(())
        return values.reshape([-1 if axis == self.axis else 1 for axis in range(rank)])


def quantization_of(value: ir.Value | None) -> Quantization | None:
    """How a value is stored; None for a float value."""
    return None if value is None else value.meta.get(KEY)


def is_quantized(model: ir.Model) -> bool:
    """Whether the graph has QuantizeLinear or DequantizeLinear nodes."""
    return any(is_op(node, "QuantizeLinear", "DequantizeLinear") for node in model.graph)


def absorb_quantization(model: ir.Model) -> bool:
    """Take the pairs out of the graph and note on each value what they said.

    ::

        x -> QuantizeLinear -> DequantizeLinear -> Conv        x (int8, scale, zero point) -> Conv
        w (int8 initializer)  -> DequantizeLinear ---^         w (float initializer, int8, scales) --^

    1. A DequantizeLinear of an initializer becomes a float initializer.
    2. A pair with equal parameters marks the value before it. All readers then see the rounded value, as a
       file that stores it as an integer has it.
    3. A pair behind a value that is marked with other parameters becomes an Identity: the target quantizes
       again there.

    Raises:
        UnsupportedOpsError: nodes that are no such pair, all of them.
    """
    graph = model.graph
    refusals: list[Refusal] = []
    changed = False
    for node in list(graph):
        if not is_op(node, "DequantizeLinear"):
            continue
        found = _parameters(node)
        if isinstance(found, str):
            refusals.append(
                Refusal(
                    node.op_type,
                    node.name or "",
                    found,
                    "quantize again, to 8 or 16 bits, with positive constant scales",
                )
            )
            continue
        stored = constant(node.inputs[0])
        source = node.inputs[0].producer() if node.inputs[0] is not None else None
        if stored is not None:
            _absorb_constant(graph, node, stored, found)
        elif source is not None and is_op(source, "QuantizeLinear"):
            _absorb_pair(graph, source, node, found, refusals)
        else:
            refusals.append(
                Refusal(
                    node.op_type,
                    node.name or "",
                    "its input is neither a constant nor made by QuantizeLinear",
                    "give the graph float inputs with QuantizeLinear behind them",
                )
            )
        changed = True
    for node in list(graph):
        if not is_op(node, "QuantizeLinear"):
            continue
        if any(value.uses() or value.is_graph_output() for value in node.outputs):
            reason = "its output is read by something else than DequantizeLinear"
            refusals.append(Refusal(node.op_type, node.name or "", reason, "export the graph with QDQ pairs"))
        else:
            remove(node)
    if refusals:
        raise UnsupportedOpsError(refusals, "a quantized file")
    return changed


def _parameters(node: ir.Node) -> Quantization | str:
    """Scale, zero point and axis of a node; a sentence where they are not constant or of another kind."""
    scale, zero = constant(node.inputs[1]), constant(input_at(node, 2))
    if scale is None or (input_at(node, 2) is not None and zero is None):
        return "its scale or zero point is computed at run time"
    if attribute(node, "block_size", 0):
        return "scales for blocks of a value"
    stored = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    dtype = zero.dtype if zero is not None else stored.dtype.numpy()  # type: ignore[union-attr]
    if dtype.name not in ("int8", "uint8", "int16", "uint16", "int32") or scale.dtype != np.float32:
        return f"{dtype.name} with scales of {scale.dtype.name}"
    if not (np.isfinite(scale) & (scale > 0)).all():
        return "its scale is not a positive number"
    points = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    if scale.size == 1:
        return Quantization(scale.reshape(1), points.reshape(1), dtype)
    rank = len(node.inputs[0].shape)  # type: ignore[union-attr, arg-type]
    return Quantization(scale.reshape(-1), points.reshape(-1), dtype, attribute(node, "axis", 1) % rank)


def _absorb_constant(graph: ir.Graph, node: ir.Node, stored: np.ndarray, found: Quantization) -> None:
    value = node.outputs[0]
    made = add_initializer(graph, found.real(stored), f"{value.name}.real")
    made.meta[KEY] = found
    bypass(value, made)
    remove(node)


def _absorb_pair(
    graph: ir.Graph, before: ir.Node, node: ir.Node, found: Quantization, refusals: list[Refusal]
) -> None:
    given = _parameters(before)
    x, y = before.inputs[0], node.outputs[0]
    assert x is not None
    if isinstance(given, str) or not found.same(given):
        reason = given if isinstance(given, str) else "its scale or zero point is not that of QuantizeLinear"
        refusals.append(Refusal(node.op_type, node.name or "", reason, "export the graph with QDQ pairs"))
        return
    known = quantization_of(x)
    if (known is None or known.same(found)) and bypass(y, x):
        x.meta[KEY] = found
        remove(node)
        return
    again = ir.node("Identity", [x], name=f"{node.name}_again")
    made = again.outputs[0]
    made.shape, made.type, made.meta[KEY] = x.shape, x.type, found
    graph.insert_before(node, again)
    name = y.name
    for use in y.uses():
        use.node.replace_input_with(use.idx, made)
    if y.is_graph_output():
        y.replace_all_uses_with(made, replace_graph_outputs=True)
        y.name, made.name = None, name
    remove(node)
