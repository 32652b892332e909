"""Which nodes of a graph compute with integers, and which of their values are numbers of the network."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import STANDARD, attribute, constant, input_at, is_op, shape_of
from toolchain.converters.quantize.scheme import (
    FUSED,
    FUSING,
    INTEGER,
    MOVING,
    READING,
    SAME_SCALE,
    WEIGHTED,
)

ALL_INPUTS = ("Add", "Concat", "Max", "Min", "Mul", "PRelu", "Sub")
SPATIAL = ("AveragePool", "Conv", "ConvTranspose", "MaxPool")
FUSED_BOUNDS = ((0.0, 6.0), (-1.0, 1.0), (0.0, None))
"""ReLU6, ReLU from -1 to 1, and ReLU."""


def integer_nodes(graph: ir.Graph, kept_float: Collection[str] = ()) -> dict[ir.Node, None]:
    """The nodes that are to compute with integers, in the order of the graph.

    1. Operators with an integer kernel, for the arguments that the kernel takes.
    2. An activation and the operator that it is fused into are of one kind: where `kept_float` names one of
       them, both stay float.
    3. What only moves numbers stays float where all that it reads comes from float operators, or all that
       reads it are such.

    Args:
        graph: the graph.
        kept_float: names of nodes that stay float.
    """
    able = {node: None for node in graph if _has_kernel(node)}
    kept = {node for node in able if node.name in kept_float}
    for node in able:
        activation = next((fused_reader(value, able) for value in node.outputs), None)
        if activation is not None and (node in kept or activation in kept):
            kept |= {node, activation}
    chosen = {node: None for node in able if node not in kept}
    while True:
        stray = [node for node in chosen if _lies_in_float(node, chosen)]
        if not stray:
            return chosen
        for node in stray:
            del chosen[node]


def data_inputs(node: ir.Node) -> list[ir.Value]:
    """Inputs that hold numbers of the network, constants too; not weights, shapes, bounds or indices."""
    inputs: list[ir.Value | None]
    if node.op_type in WEIGHTED:
        inputs = [node.inputs[0]]
        if node.op_type in ("MatMul", "Gemm") and constant(node.inputs[1]) is None:
            inputs.append(node.inputs[1])
    elif node.op_type in ALL_INPUTS:
        inputs = list(node.inputs)
    elif node.op_type == "Where":
        inputs = list(node.inputs[1:])
    else:
        inputs = [node.inputs[0]]
    return [value for value in inputs if value is not None and value.dtype == ir.DataType.FLOAT]


def float_outputs(node: ir.Node) -> list[ir.Value]:
    """Outputs that hold numbers of the network."""
    return [value for value in node.outputs if value.dtype == ir.DataType.FLOAT]


def fused_reader(value: ir.Value, inside: Collection[ir.Node]) -> ir.Node | None:
    """The activation that the value's producer computes while it writes; None where the value is stored."""
    producer = value.producer()
    reader = sole_limiter(value, inside)
    if producer is None or reader is None or producer.op_type not in FUSING or producer not in inside:
        return None
    return reader if _fuses(producer) and is_fusible(reader) else None


def sole_limiter(value: ir.Value, inside: Collection[ir.Node]) -> ir.Node | None:
    """The Relu or Clip that alone reads the value."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    use = next(iter(uses))
    return use.node if use.idx == 0 and use.node in inside and is_op(use.node, *FUSED) else None


def is_fusible(node: ir.Node) -> bool:
    """Relu, and Clip with the bounds of ReLU6 or of ReLU from -1 to 1."""
    if is_op(node, "Relu"):
        return True
    bounds = [constant(input_at(node, index)) for index in (1, 2)]
    return is_op(node, "Clip") and tuple(None if b is None else b.item() for b in bounds) in FUSED_BOUNDS


def channel_axis(node: ir.Node, rank: int) -> int | None:
    """Axis of the weights that the output channels lie on; None where kernels take one scale only."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return rank - 1 if rank == 2 else None


def _has_kernel(node: ir.Node) -> bool:
    if node.domain != STANDARD or node.op_type not in INTEGER or not data_inputs(node):
        return False
    if not float_outputs(node) and node.op_type not in READING:
        return False
    if node.op_type in SPATIAL and len(shape_of(node.inputs[0]) or ()) > 4:
        return False
    finite = all(_is_finite(value) for value in data_inputs(node))
    return finite and _takes_arguments(node)


def _is_finite(value: ir.Value) -> bool:
    data = constant(value)
    return data is None or bool(np.isfinite(data).all())


def _takes_arguments(node: ir.Node) -> bool:
    """Whether the integer kernel takes the node's constants and attributes."""
    if node.op_type in ("Conv", "ConvTranspose"):
        return _is_constant(node, 1) and _is_constant(node, 2)
    if node.op_type == "Gemm":
        return _plain_gemm(node)
    if node.op_type == "PRelu":
        return constant(node.inputs[1]) is not None
    if node.op_type in ("Clip", "Pad"):
        return all(_is_constant(node, index) for index in (1, 2))
    if node.op_type == "Resize":
        return attribute(node, "mode", "nearest") != "cubic" and not attribute(node, "antialias", 0)
    if node.op_type == "MaxPool":
        return not any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    return True


def _is_constant(node: ir.Node, index: int) -> bool:
    """Whether an input is constant and finite, or left out."""
    value = input_at(node, index)
    data = constant(value)
    return value is None or (data is not None and bool(np.isfinite(data).all()))


def _plain_gemm(node: ir.Node) -> bool:
    """No factors, and a bias for each column."""
    offset, shape = constant(input_at(node, 2)), shape_of(node.outputs[0])
    plain = attribute(node, "alpha", 1.0) == 1 and (offset is None or attribute(node, "beta", 1.0) == 1)
    if not plain or shape is None or not _is_constant(node, 2):
        return False
    return offset is None or offset.size == 1 or offset.size == offset.shape[-1] == shape[1]


def _fuses(producer: ir.Node) -> bool:
    """Whether the operator is written as one that has a fused activation."""
    if producer.op_type in ("AveragePool", "Conv", "MaxPool"):
        return len(shape_of(producer.outputs[0]) or ()) == 4
    if producer.op_type == "MatMul":
        weights = constant(producer.inputs[1])
        return weights is not None and weights.ndim == 2
    return True


def _lies_in_float(node: ir.Node, chosen: Collection[ir.Node]) -> bool:
    if node.op_type not in MOVING or node.op_type not in SAME_SCALE:
        return False
    producers = [value.producer() for value in data_inputs(node) if constant(value) is None]
    readers = [use.node for value in float_outputs(node) for use in value.uses()]
    ends = any(value.is_graph_output() for value in float_outputs(node))
    from_float = bool(producers) and all(made is not None and made not in chosen for made in producers)
    to_float = bool(readers) and not ends and not any(reader in chosen for reader in readers)
    return from_float or to_float
