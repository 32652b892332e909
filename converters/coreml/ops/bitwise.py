"""Bits of integers. MIL has no operators for them; here is what int32 arithmetic does exactly."""

from __future__ import annotations

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import mb
from toolchain.converters.node_view import Refused


@lowers("BitwiseNot")
def bitwise_not(context: NodeContext) -> None:
    """BitwiseNot: -1 - x."""
    context.store(mb.sub(x=np.int32(-1), y=context.input()))


@lowers("BitwiseAnd")
def bitwise_and(context: NodeContext) -> None:
    """BitwiseAnd with the lowest bits: what remains of the division by a power of two."""
    for place in (0, 1):
        if context.is_constant(place):
            masks = context.constant(place, "the mask").astype(np.int64)
            # 2**31 - 1 is the largest mask whose power of two int32 does not hold any more.
            if ((masks >= 0) & (masks & (masks + 1) == 0)).all() and masks.max() < np.iinfo(np.int32).max:
                powers = (masks + 1).astype(np.int32)
                context.store(mb.mod(x=context.input(1 - place), y=powers if powers.ndim else powers[()]))
                return
    raise Refused(
        "BitwiseAnd with another mask than the constant 2**n - 1, for which Core ML has no operator",
        "compute the bits by division in the network",
    )
