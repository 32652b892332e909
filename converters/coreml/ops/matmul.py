"""Matrix products."""

from __future__ import annotations

import numpy as np

from toolchain.converters.coreml.lowering import NEURAL_NETWORK, NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.node_view import Refused

LINEAR_AXES = 3


def product(context: NodeContext, a: Var, b: Var, turn_a: bool = False, turn_b: bool = False) -> Var:
    """Compute a @ b over the last two axes, the axes before them broadcast; `turn_*` transposes first.

    Raises:
        Refused: integers in a neural network, which multiplies them as floats.
    """
    if not context.is_float() and context.goal.kind == NEURAL_NETWORK:
        raise Refused(f"{context.node.op_type} of int32", "cast to float32 in the network")
    return mb.matmul(x=a, y=b, transpose_x=turn_a, transpose_y=turn_b)


@lowers("Gemm")
def gemm(context: NodeContext) -> None:
    """Gemm: alpha * A' @ B' + beta * C, as `linear` with its bias where B is a constant."""
    if not context.is_float():
        raise Refused("Gemm of int32", "cast to float32 in the network, or use MatMul and Add")
    alpha, beta = context.float("alpha", 1.0), context.float("beta", 1.0)
    turn_a, turn_b = bool(context.int("transA", 0)), bool(context.int("transB", 0))
    a = context.input()
    bias = _bias(context, beta)
    if context.is_constant(1):
        weights = context.constant(1, "B") if turn_b else context.constant(1, "B").T
        weights = np.ascontiguousarray(weights * np.float32(alpha))
        a = mb.transpose(x=a, perm=[1, 0]) if turn_a else a
        named = {} if bias is None else {"bias": bias}
        y = mb.linear(x=a, weight=weights, **named)
    else:
        y = product(context, a, context.input(1), turn_a, turn_b)
        y = mb.mul(x=y, y=np.float32(alpha)) if alpha != 1 else y
        y = mb.add(x=y, y=bias) if bias is not None else y
    if context.given(2) and bias is None and beta:
        c = context.input(2)
        c = mb.mul(x=c, y=np.float32(beta)) if beta != 1 else c
        y = mb.add(x=y, y=c)
    context.store(y)


def _bias(context: NodeContext, beta: float) -> np.ndarray | None:
    """The product beta * C as one number per column; None when C is not constant, has rows or has no part."""
    if not context.given(2) or not context.is_constant(2) or not beta:
        return None
    c = context.constant(2, "C")
    if c.ndim == 2 and c.shape[0] != 1:
        return None
    columns = context.out_shape()[1]
    return np.ascontiguousarray(np.broadcast_to(c.reshape(-1) * np.float32(beta), (columns,)))


@lowers("MatMul")
def matmul(context: NodeContext) -> None:
    """MatMul: `linear` with a constant matrix on the right, else `matmul`; vectors become matrices first."""
    ranks = len(context.shape(0)), len(context.shape(1))
    if context.is_float() and context.is_constant(1) and ranks[1] == 2 and ranks[0] <= LINEAR_AXES:
        weights = np.ascontiguousarray(context.constant(1, "B").T)
        context.store(mb.linear(x=context.input(), weight=weights))
        return
    a, b = context.input(0), context.input(1)
    a = mb.expand_dims(x=a, axes=[0]) if ranks[0] == 1 else a
    b = mb.expand_dims(x=b, axes=[1]) if ranks[1] == 1 else b
    y = product(context, a, b)
    axes = [axis for axis, rank in zip((-2, -1), ranks, strict=True) if rank == 1]
    context.store(mb.squeeze(x=y, axes=axes) if axes else y)
