"""Batch normalization in inference becomes part of the convolution before it, or one Mul and one Add."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.affine import ABSORBING, absorb_affine
from toolchain.converters.graph.rewrite import (
    add_initializer,
    attribute,
    bypass,
    constant,
    graph_of,
    insert_before,
    is_op,
    remove,
    required,
    shape_of,
    sole_producer,
)
from toolchain.errors import UnsupportedError


def fold_batch_norm(model: ir.Model) -> bool:
    """Remove every BatchNormalization whose parameters are constant.

    ::

        x -> Conv(W, b) -> BatchNormalization -> y        x -> Conv(W * scale, b * scale + shift) -> y
        x -> BatchNormalization -> y                      x -> Mul(scale) -> Add(shift) -> y

    with scale = gamma / sqrt(var + epsilon) and shift = beta - mean * scale, per channel.

    1. Conv, ConvTranspose, Gemm and MatMul (rank 2) with constant weights absorb it if nothing else
       reads their output.
    2. Otherwise scale and shift become constants of shape (C, 1, 1, ...), one 1 per spatial axis.
    3. Nodes with computed parameters stay.

    Raises:
        UnsupportedError: a node normalizes with the statistics of the batch (training mode).
    """
    changed = False
    for node in [node for node in model.graph if is_op(node, "BatchNormalization")]:
        _refuse_training(node)
        parameters = _scale_and_shift(node)
        shape = shape_of(node.inputs[0])
        if parameters is None or shape is None or len(shape) < 2:
            continue
        scale, shift = parameters
        producer = sole_producer(node.inputs[0], *ABSORBING)
        if producer is not None and absorb_affine(producer, scale, shift):
            bypass(node.outputs[0], producer.outputs[0])
            remove(node)
        else:
            _expand(node, scale, shift, shape)
        changed = True
    return changed


def _refuse_training(node: ir.Node) -> None:
    extra = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    if attribute(node, "training_mode", 0) or extra:
        raise UnsupportedError(
            f"node '{node.name}' (BatchNormalization) normalizes with the statistics of the batch",
            "export the network in evaluation mode: call .eval() first",
        )


def _scale_and_shift(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    arrays = [constant(value) for value in node.inputs[1:5]]
    if len(arrays) != 4 or any(array is None for array in arrays):
        return None
    gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays if array is not None)
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, beta - mean * scale


def _expand(node: ir.Node, scale: np.ndarray, shift: np.ndarray, shape: tuple[int, ...]) -> None:
    dtype, source = node.outputs[0].dtype or ir.DataType.FLOAT, required(node)
    for op_type, array, kind in (("Mul", scale, "scale"), ("Add", shift, "shift")):
        column = array.astype(dtype.numpy()).reshape(-1, *[1] * (len(shape) - 2))
        value = add_initializer(graph_of(node), column, f"{node.name}.{kind}")
        source = insert_before(node, op_type, [source, value], {}, shape, dtype)
    bypass(node.outputs[0], source)
    remove(node)
