"""Constant multiplications and additions after a convolution become part of its weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.affine import ABSORBING, absorb_affine
from toolchain.converters.graph.rewrite import bypass, constant, is_op, remove, shape_of, sole_producer

Affine = tuple[np.ndarray | None, np.ndarray | None]


def fold_scale_shift(model: ir.Model) -> bool:
    """Let a Conv, ConvTranspose, Gemm or MatMul absorb a constant per channel that follows it.

    ::

        x -> Conv(W, b) -> Mul(s) -> y        x -> Conv(W * s, b * s) -> y
        x -> Conv(W, b) -> Add(t) -> y        x -> Conv(W, b + t) -> y
        x -> MatMul(W) -> Add(t) -> y         x -> Gemm(W, t) -> y            (rank 2)

    1. The constant is one number, or one number per channel: of size 1 on every axis but axis 1.
    2. Nothing else reads the output of the convolution, and the constant does not broaden it.
    3. Div by a constant multiplies with its reciprocal; Sub works on either side: c - y is -y + c.
    4. Constants that are not finite stay, and so do divisors of 0.
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, "Add", "Sub", "Mul", "Div")]:
        for index in (0, 1):
            producer = sole_producer(node.inputs[index], *ABSORBING)
            affine = None if producer is None else _affine(node, index, producer)
            if producer is None or affine is None or not absorb_affine(producer, *affine):
                continue
            bypass(node.outputs[0], producer.outputs[0])
            remove(node)
            changed = True
            break
    return changed


def _affine(node: ir.Node, index: int, producer: ir.Node) -> Affine | None:
    """Scale and shift that the node applies to its input `index`, None when it is not of that kind."""
    shape = shape_of(producer.outputs[0])
    if shape is None or len(shape) < 2 or shape_of(node.outputs[0]) != shape:
        return None
    vector = _per_channel(constant(node.inputs[1 - index]), shape)
    if vector is None or not np.isfinite(vector).all():
        return None
    if node.op_type == "Add":
        return None, vector
    if node.op_type == "Mul":
        return vector, None
    if node.op_type == "Sub":
        return (None, -vector) if index == 0 else (np.full(1, -1.0), vector)
    if index == 1 or not vector.all():
        return None
    reciprocal = 1 / vector
    return (reciprocal, None) if np.isfinite(reciprocal).all() else None


def _per_channel(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The operand as (1,) or (channels,) in float64, None when it varies along another axis."""
    if array is None or array.dtype.kind != "f" or array.ndim > len(shape):
        return None
    sizes = (1,) * (len(shape) - array.ndim) + array.shape
    if any(size != 1 for axis, size in enumerate(sizes) if axis != 1) or sizes[1] not in (1, shape[1]):
        return None
    return array.astype(np.float64).reshape(-1)
