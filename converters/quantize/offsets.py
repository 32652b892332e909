"""Offsets of channels: who makes them, who hands them on, who takes them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.affine import absorb_affine
from toolchain.converters.graph.rewrite import attribute, is_op
from toolchain.converters.quantize.scale_groups import ScaleGroup, input_channels

LINEAR = ("Add", "Sub", "MaxPool", "Resize", "GlobalAveragePool", "GlobalMaxPool", "Identity")
"""Operators inside a group that hand an offset of each channel on."""


def offset_sources(group: ScaleGroup) -> tuple[list[ir.Value], set[ir.Value]]:
    """Outputs of weighted operators that an offset may be taken from, and all values that it can reach.

    Their readers all hand the offset on, or take it up in their bias: no activation reads them and no padded
    convolution, which reads zeros beside them.
    """
    makers = {node.outputs[0] for node in group.producers}
    movable = {value for value in group.values if value in makers or is_op(value.producer(), *LINEAR)}
    while True:
        fixed = {
            value
            for value in movable
            if any(not _takes(use.node, group) and use.node.outputs[0] not in movable for use in value.uses())
        }
        if not fixed:
            return [value for value in group.values if value in movable & makers], movable
        movable -= fixed


def spread(group: ScaleGroup, movable: set[ir.Value], made: Mapping[ir.Value, Any]) -> dict[ir.Value, Any]:
    """Offsets of all movable values from those of the sources, numpy arrays or tensors."""
    found: dict[ir.Value, Any] = {}
    for value in group.values:
        if value not in movable:
            continue
        if value in made:
            found[value] = made[value]
            continue
        node = value.producer()
        assert node is not None
        signs = (1, -1) if is_op(node, "Sub") else (1,) * len(node.inputs)
        parts = [
            sign * found[x]
            for sign, x in zip(signs, node.inputs, strict=True)
            if x is not None and x in found
        ]
        if parts:
            found[value] = sum(parts[1:], start=parts[0])
    return found


def apply_offsets(group: ScaleGroup, offsets: Mapping[ir.Value, np.ndarray]) -> None:
    """Write offsets into the biases of the operators that make and read the values.

    ::

        x -> Conv(W, b) -> Add(u) -> Conv(V, d)      x -> Conv(W, b - c) -> Add(u) -> Conv(V, d + V c)
    """
    for node in group.producers:
        if node.outputs[0] in offsets:
            absorb_affine(node, None, -offsets[node.outputs[0]])
    for node in group.consumers:
        source = node.inputs[0]
        if source is not None and source in offsets:
            weights, channel = input_channels(node)
            product = (weights.sum(axis=2, dtype=np.float64) * offsets[source][channel]).sum(axis=1)
            if node.op_type == "Gemm":
                product = product * attribute(node, "alpha", 1.0)
            absorb_affine(node, None, product)


def _takes(node: ir.Node, group: ScaleGroup) -> bool:
    """Whether the operator's bias can take up an offset of its input: it reads no zeros beside it."""
    if node not in group.consumers or node.op_type == "ConvTranspose":
        return False
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    return not any(attribute(node, "pads", ()))
