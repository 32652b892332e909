"""Operators whose result does not depend on the network's inputs once all shapes are static.

`clean` computes them; what is left are those whose result is an output of the network.
"""

from __future__ import annotations

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, computed, lowers
from toolchain.converters.coreml.mil import mb


def _store(context: NodeContext, data: np.ndarray) -> None:
    context.store(mb.const(val=computed(data, context.node.outputs[0].name or "a constant")))


@lowers("Shape")
def shape(context: NodeContext) -> None:
    """Shape, or the part from `start` to `end` of it."""
    sizes = context.shape()
    chosen = sizes[context.int("start", 0) : context.int("end", len(sizes))]
    _store(context, np.array(chosen, np.int64))


@lowers("Size")
def size(context: NodeContext) -> None:
    """Size: the number of elements."""
    _store(context, np.array(np.prod(context.shape(), dtype=np.int64)))


@lowers("ConstantOfShape")
def constant_of_shape(context: NodeContext) -> None:
    """ConstantOfShape; zeros of float32 by default."""
    sizes = context.constant(0, "the shape")
    held = context.node.attributes.get("value")
    value = np.zeros(1, np.float32) if held is None else held.as_tensor().numpy()
    _store(context, np.full(sizes.tolist(), value.reshape(-1)[0], value.dtype))


@lowers("Range")
def range_(context: NodeContext) -> None:
    """Range of constant bounds."""
    start, limit, delta = (
        context.constant(index, name).reshape(()) for index, name in enumerate(("start", "limit", "delta"))
    )
    count = max(int(np.ceil((float(limit) - float(start)) / float(delta))), 0)
    _store(context, (start + np.arange(count) * delta).astype(start.dtype))
