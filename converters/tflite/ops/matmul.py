"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import (
    NodeLayout,
    Perm,
    is_constant,
    plain_perm,
    rank_of,
    shape_of,
)
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.program import Op, Tensor

BATCHED_AXES = 5


def require_float(context: NodeContext) -> None:
    """Refuse what the kernels of matrix products do not take."""
    if context.dtype() != np.float32:
        raise Refused(f"{context.node.op_type} of {context.dtype().name}", "cast to float32 in the network")


def fully_connected(context: NodeContext, x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x @ weights.T + bias over the last storage axis of x.

    Args:
        context: node being lowered.
        x: (..., K).
        weights: (N, K).
        bias: (N,).
    """
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = len(x.shape) != 2
    if len(x.shape) > steps.BROADCAST_AXES:
        rows = steps.reshape(context, x, (prod(x.shape[:-1]), x.shape[-1]))
        y = fully_connected(context, rows, weights, bias)
        return steps.reshape(context, y, (*x.shape[:-1], weights.shape[0]))
    shape = (*x.shape[:-1], weights.shape[0])
    return steps.emit(context, Op.FULLY_CONNECTED, [x, weights, bias], shape, options=options)


def batch_matmul(
    context: NodeContext, a: Tensor, b: Tensor, turn_a: bool = False, turn_b: bool = False
) -> Tensor:
    """Compute a @ b over the last two storage axes, the axes before them broadcast.

    Args:
        context: node being lowered.
        a: (..., M, K), or (..., K, M) with `turn_a`.
        b: (..., K, N), or (..., N, K) with `turn_b`.
        turn_a: whether a is stored transposed.
        turn_b: whether b is stored transposed.
    """
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, columns = a.shape[-1 if turn_a else -2], b.shape[-2 if turn_b else -1]
    made: Sequence[int] = batch
    if len(batch) + 2 > BATCHED_AXES:
        (left, right), made = steps.merge_broadcast([a.shape[:-2], b.shape[:-2]])
        if len(made) + 2 > BATCHED_AXES:
            left = right = made = (prod(batch),)
            a = steps.broadcast(context, a, (*batch, *a.shape[-2:]))
            b = steps.broadcast(context, b, (*batch, *b.shape[-2:]))
        a = steps.reshape(context, a, (*left, *a.shape[-2:]))
        b = steps.reshape(context, b, (*right, *b.shape[-2:]))
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = turn_a, turn_b
    y = steps.emit(context, Op.BATCH_MATMUL, [a, b], (*made, rows, columns), options=options)
    return steps.reshape(context, y, (*batch, rows, columns))


# Gemm


def _gemm_layout(node: ir.Node, _perms: Sequence[Perm]) -> NodeLayout:
    """The axis that is summed up is stored last in A."""
    turned = node.attributes.get("transA")
    first = (1, 0) if turned is not None and turned.as_int() else (0, 1)
    rest = tuple(plain_perm(rank_of(value)) for value in node.inputs[1:])
    return NodeLayout((first, *rest), ((0, 1),))


@lowers("Gemm", layout=_gemm_layout)
def gemm(context: NodeContext) -> None:
    """Gemm: alpha * A' @ B' + beta * C, as FULLY_CONNECTED with its bias where B is constant."""
    require_float(context)
    a, (_, columns) = context.input(), context.out_shape()
    alpha, beta = context.float("alpha", 1.0), context.float("beta", 1.0)
    bias = _bias(context, beta, columns)
    turned = bool(context.int("transB", 0))
    if is_constant(context.onnx(1)):
        weights = context.input_as(1, (0, 1) if turned else (1, 0))
        if alpha != 1:
            assert weights.data is not None
            weights = context.const(weights.data * np.float32(alpha), "weights")
        y = fully_connected(context, a, weights, bias)
    else:
        y = batch_matmul(context, a, context.input(1), turn_b=turned)
        y = steps.binary(context, Op.MUL, y, alpha) if alpha != 1 else y
        y = steps.binary(context, Op.ADD, y, bias) if bias is not None else y
    if context.given(2) and bias is None and beta:
        c = context.input(2)
        c = steps.binary(context, Op.MUL, c, beta) if beta != 1 else c
        y = steps.binary(context, Op.ADD, y, c)
    steps.store(context, y)


def _bias(context: NodeContext, beta: float, columns: int) -> Tensor | None:
    """The product beta * C as one number per column, None when C is not constant or has rows."""
    if not context.given(2) or not is_constant(context.onnx(2)) or not beta:
        return None
    c = context.constant(2, "C")
    if c.ndim == 2 and c.shape[0] != 1:
        return None
    return context.const(np.broadcast_to(c.reshape(-1) * np.float32(beta), (columns,)), "bias")


# MatMul


def _weights_side(node: ir.Node, perms: Sequence[Perm]) -> int | None:
    """Which operand is a constant matrix that FULLY_CONNECTED can take as weights; None for neither."""
    a, b = node.inputs[0], node.inputs[1]
    ranks = rank_of(a), rank_of(b)
    if is_constant(b) and b is not None and not is_constant(a):
        single = prod(shape_of(b)[:-2]) == 1 and ranks[1] <= max(ranks[0], 2)
        return 1 if single else None
    # A @ x = (x.T @ A.T).T: free where x is stored transposed already.
    if is_constant(a) and ranks[0] == 2 and _is_turned(perms[1]):
        return 0
    return None


def _is_turned(perm: Perm) -> bool:
    """Whether the last two ONNX axes are stored the other way round."""
    rank = len(perm)
    return rank >= 2 and perm.index(rank - 1) < perm.index(rank - 2)


def _turned(rank: int) -> Perm:
    """ONNX's own order with the last two axes exchanged."""
    return (*range(rank - 2), rank - 1, rank - 2)


def _matmul_layout(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """Weights: any order with the summed axis last. Else the batch axes first, the matrices either way."""
    ranks = [rank_of(value) for value in node.inputs]
    rank = rank_of(node.outputs[0])
    side = _weights_side(node, perms)
    if side == 1:
        last = ranks[0] - 1
        perm = (*(axis for axis in perms[0] if axis != last), last)
        output = perm if rank == ranks[0] else perm[:-1]
        return NodeLayout((perm, plain_perm(ranks[1])), (output,))
    if side == 0:
        perm = perms[1] if perms[1][-1] == rank - 2 else _turned(rank)
        return NodeLayout((plain_perm(2), perm), (perm,))
    wanted = []
    for value, perm, own in zip(node.inputs, perms, ranks, strict=True):
        turned = not is_constant(value) and _is_turned(perm)
        wanted.append(_turned(own) if turned else plain_perm(own))
    both = min(ranks) >= 2 and all(_is_turned(perm) for perm in wanted)
    return NodeLayout(tuple(wanted), (_turned(rank) if both else plain_perm(rank),))


@lowers("MatMul", layout=_matmul_layout)
def matmul(context: NodeContext) -> None:
    """MatMul: FULLY_CONNECTED with a constant matrix, else BATCH_MATMUL; vectors become matrices first."""
    require_float(context)
    shapes = context.shape(0), context.shape(1)
    shape = context.out_shape()
    stored = [shape[axis] for axis in context.perm]
    side = _weights_side(context.node, context.layout.inputs)
    if side == 1:
        y = fully_connected(context, context.input(0), _right_weights(context))
    elif side == 0:
        y = fully_connected(context, context.input(1), context.input(0))
    elif min(len(own) for own in shapes) >= 2 and all(_is_turned(perm) for perm in context.layout.inputs):
        # (B.T @ A.T).T
        y = batch_matmul(context, context.input(1), context.input(0))
    else:
        a, b = context.input(0), context.input(1)
        a = steps.reshape(context, a, (1, *a.shape)) if len(a.shape) == 1 else a
        b = steps.reshape(context, b, (*b.shape, 1)) if len(b.shape) == 1 else b
        turned = [_is_turned(perm) for perm in context.layout.inputs]
        y = batch_matmul(context, a, b, *turned)
    steps.store(context, steps.reshape(context, y, stored))


def _right_weights(context: NodeContext) -> Tensor:
    """The constant right side (..., K, N) as (N, K)."""
    rank = len(context.shape(1))
    if rank == 1:
        weights = context.input_as(1, (0,))
        return steps.reshape(context, weights, (1, *weights.shape))
    weights = context.input_as(1, (*range(rank - 2), rank - 1, rank - 2))
    return steps.reshape(context, weights, weights.shape[-2:])
