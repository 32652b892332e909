"""Places of the largest and smallest elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.node_view import Refused


@lowers("ArgMax")
def arg_max(context: NodeContext) -> None:
    """ArgMax: the first of equal maxima, the last with select_last_index=1."""
    _arg(context, mb.reduce_argmax, mb.reduce_max)


@lowers("ArgMin")
def arg_min(context: NodeContext) -> None:
    """ArgMin: the first of equal minima, the last with select_last_index=1."""
    _arg(context, mb.reduce_argmin, mb.reduce_min)


def _arg(context: NodeContext, find: Callable[..., Var], reduce: Callable[..., Var]) -> None:
    """The place of an extremum; MIL does not promise which one of equals `find` finds.

    Floats are seldom equal, and Core ML takes the first one then. Where that is not enough, of integers and
    for the last one, the places of all that equal the extremum are compared.
    """
    x = context.input()
    if not x.rank:
        raise Refused(f"{context.node.op_type} of a scalar", "give it an axis")
    axis, last = context.int("axis", 0) % x.rank, context.int("select_last_index", 0)
    keep = bool(context.int("keepdims", 1))
    if context.is_float() and not last:
        context.store(find(x=x, axis=np.int32(axis), keep_dims=keep))
        return
    axes, length = np.array([axis], np.int32), x.shape[axis]
    found = mb.equal(x=x, y=reduce(x=x, axes=axes, keep_dims=True))
    sizes = [length if place == axis else 1 for place in range(x.rank)]
    places = np.arange(length, dtype=np.int32).reshape(sizes)
    # The places found count from 1 and the others as 0, or downwards from `length`.
    marks = places + 1 if last else length - places
    best = mb.reduce_max(x=mb.mul(x=mb.cast(x=found, dtype="int32"), y=marks), axes=axes, keep_dims=keep)
    one = np.int32(1)
    context.store(mb.sub(x=best, y=one) if last else mb.sub(x=np.int32(length), y=best))


@lowers("TopK")
def top_k(context: NodeContext) -> None:
    """TopK, always sorted."""
    count = int(context.constant(1, "k").item()) if context.given(1) else context.int("k")
    x = context.input()
    if not count:
        raise Refused("TopK of k = 0", "remove the node from the network")
    if not x.rank:
        raise Refused("TopK of a scalar", "give it an axis")
    axis, ascending = context.int("axis", -1) % x.rank, not context.int("largest", 1)
    made = mb.topk(x=x, k=np.int32(count), axis=np.int32(axis), ascending=ascending)
    for index, var in enumerate(made):
        if context.is_used(index):
            context.store(var, index)
