"""Puts a factor and an offset per channel into the weights of a convolution or matrix product."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import (
    add_initializer,
    attribute,
    constant,
    graph_of,
    input_at,
    set_attributes,
    set_inputs,
    shape_of,
)

ABSORBING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that can take a factor and an offset per output channel into their weights."""


def absorb_affine(node: ir.Node, scale: np.ndarray | None, shift: np.ndarray | None) -> bool:
    """Change `node` so that it computes scale * y + shift instead of y, per channel (axis 1) of its output.

    New initializers are made; the old weights may be shared with other nodes and are not written to.
    A MatMul of rank 2 becomes a Gemm if it needs an offset.

    Args:
        node: a node of one of the ABSORBING operators whose output has no other reader.
        scale: float64 (channels,), None for 1.
        shift: float64 (channels,), None for 0.

    Returns:
        False, with nothing changed, when weights or bias are not constant.
    """
    weight, bias = constant(node.inputs[1]), _bias(node)
    if weight is None or bias is None or weight.dtype.kind != "f":
        return False
    channels = (shape_of(node.outputs[0]) or (0, 0))[1]
    if node.op_type == "MatMul" and (weight.ndim != 2 or len(shape_of(node.inputs[0]) or ()) != 2):
        return False
    if scale is not None:
        factor = _along_outputs(node, weight, np.broadcast_to(scale, (channels,)))
        _replace(node, 1, scaled(weight, factor), "weight")
    if node.op_type == "Gemm":
        bias = bias * attribute(node, "beta", 1.0)
    updated = bias if scale is None else bias * scale
    updated = updated if shift is None else updated + shift
    if shift is not None or input_at(node, 2) is not None:
        _set_bias(node, updated, channels, weight.dtype)
    return True


def scaled(weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The product in the type of the weight, computed in float32 at least, without a float64 copy."""
    wide = np.promote_types(weight.dtype, np.float32)
    return np.multiply(weight, factor.astype(wide), dtype=wide).astype(weight.dtype, copy=False)


def _bias(node: ir.Node) -> np.ndarray | None:
    """The bias in float64; 0 where the node has none; None where it is computed by the network."""
    value = input_at(node, 2)
    if value is None:
        return np.zeros(())
    array = constant(value)
    return None if array is None else array.astype(np.float64)


def _set_bias(node: ir.Node, bias: np.ndarray, channels: int, dtype: np.dtype) -> None:
    if node.op_type in ("Conv", "ConvTranspose") or bias.ndim < 2:
        bias = np.broadcast_to(bias, (channels,))
    if node.op_type == "MatMul":
        node.op_type = "Gemm"
    if node.op_type == "Gemm":
        set_attributes(node, beta=None)
    if len(node.inputs) < 3:
        set_inputs(node, [*node.inputs, None])
    _replace(node, 2, bias.astype(dtype), "bias")


def _replace(node: ir.Node, index: int, array: np.ndarray, kind: str) -> None:
    old = node.inputs[index]
    name = old.name if old is not None and old.name else f"{node.name}.{kind}"
    node.replace_input_with(index, add_initializer(graph_of(node), array, name))


def _along_outputs(node: ir.Node, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Reshape (channels,) so that it broadcasts along the output channels of the weight."""
    if node.op_type == "Conv":
        return factor.reshape(-1, *[1] * (weight.ndim - 1))
    if node.op_type == "ConvTranspose":
        # (in, out / groups, ...): the rows of group g make the output channels of group g.
        groups = attribute(node, "group", 1)
        rows = np.repeat(factor.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        return rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))
    return factor.reshape(-1, 1) if attribute(node, "transB", 0) else factor.reshape(1, -1)
