"""Small compositions of MIL operators that several families need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.converters.coreml.lowering import NEURAL_NETWORK, NodeContext
from toolchain.converters.coreml.mil import Var, mb, types
from toolchain.converters.node_view import Refused


def dtype_of(x: Var) -> type[np.generic]:
    """Element type of a variable as a numpy scalar type."""
    return types.nptype_from_builtin(x.dtype)


def number(x: Var, value: float) -> np.generic:
    """A number in the element type of `x`; MIL does not mix types."""
    return dtype_of(x)(value)


def require_float(context: NodeContext, index: int = 0) -> Var:
    """An input that must be float32."""
    if not context.is_float(index):
        raise Refused(
            f"{context.node.op_type} of {context.dtype(index).name}", "cast to float32 in the network"
        )
    return context.input(index)


def cast(x: Var, dtype: np.dtype | type[np.generic]) -> Var:
    """The elements in another type: floats are cut towards zero, everything but 0 is true."""
    wanted = np.dtype(dtype)
    if np.dtype(dtype_of(x)) == wanted:
        return x
    if wanted == np.bool_:
        # A comparison says what happens to fractions and NaN, `cast` does not.
        return mb.not_equal(x=x, y=number(x, 0))
    return mb.cast(x=x, dtype={"float32": "fp32", "int32": "int32"}[wanted.name])


def reshape(x: Var, shape: Sequence[int]) -> Var:
    """`x` in another shape, as it is where that is its own."""
    if tuple(x.shape) == tuple(shape):
        return x
    if not shape:
        return mb.squeeze(x=x)
    return mb.reshape(x=x, shape=np.array(shape, np.int32))


def broadcast_to(x: Var, shape: Sequence[int]) -> Var:
    """`x` broadcast to a shape as numpy does it; constants while converting."""
    if tuple(x.shape) == tuple(shape):
        return x
    if x.val is not None:
        return mb.const(val=np.ascontiguousarray(np.broadcast_to(x.val, shape)))
    if dtype_of(x) is np.bool_:
        return cast(broadcast_to(cast(x, np.int32), shape), np.bool_)
    sizes = (1,) * (len(shape) - x.rank) + tuple(x.shape)
    repeats = [whole // size for size, whole in zip(sizes, shape, strict=True)]
    return mb.tile(x=reshape(x, sizes), reps=np.array(repeats, np.int32))


def quotient(x: Var, y: Var | np.generic) -> Var:
    """x / y of integers cut towards zero: floor_div, and one more where that cut away from zero."""
    floored, rest = mb.floor_div(x=x, y=y), mb.mod(x=x, y=y)
    zero = number(x, 0)
    opposite = mb.logical_xor(x=mb.less(x=x, y=zero), y=mb.less(x=y, y=zero))
    inexact = mb.logical_and(x=opposite, y=mb.not_equal(x=rest, y=zero))
    return mb.add(x=floored, y=cast(inexact, np.int32))


def log(context: NodeContext, x: Var) -> Var:
    """Natural logarithm; MIL adds 1e-45 to the operand unless told otherwise, and log of 0 would be -103.

    Neural networks read an epsilon of 0 as 1e-6, so there the smallest number that float32 has is added.
    """
    return mb.log(x=x, epsilon=np.float32(1e-45 if context.goal.kind == NEURAL_NETWORK else 0))
