"""Activations."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.layout import elementwise
from toolchain.converters.tflite.lowering import NodeContext, lowers
from toolchain.converters.tflite.program import Op


@lowers("Relu", layout=elementwise)
def relu(context: NodeContext) -> None:
    """Relu."""
    context.emit(Op.RELU, [context.input()], context.output())


@lowers("Clip", layout=elementwise)
def clip(context: NodeContext) -> None:
    """Clip: RELU6 and the like where the bounds are theirs, else MAXIMUM and MINIMUM."""
    low = context.optional_constant(1, "the lower bound")
    high = context.optional_constant(2, "the upper bound")
    bounds = (None if low is None else float(low), None if high is None else float(high))
    known = {(0.0, 6.0): Op.RELU6, (-1.0, 1.0): Op.RELU_N1_TO_1, (0.0, None): Op.RELU}
    x = context.input()
    if x.dtype == np.float32 and bounds in known:
        context.emit(known[bounds], [x], context.output())
        return
    steps = [(Op.MAXIMUM, low, "low"), (Op.MINIMUM, high, "high")]
    steps = [step for step in steps if step[1] is not None]
    for index, (code, bound, name) in enumerate(steps):
        last = index == len(steps) - 1
        made = context.output() if last else context.temp(x.shape, x.dtype, "clipped")
        limit = context.const(np.asarray(bound, x.dtype), name)
        x = context.emit(code, [x, limit], made, schema.MaximumMinimumOptionsT())
    if not steps:
        context.alias(x)
