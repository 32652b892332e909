"""Pooling."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.layout import spatial
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops.window import SAME, VALID, pad_channels_last, window_of
from toolchain.converters.tflite.program import Op


@lowers("MaxPool", layout=spatial)
def max_pool(context: NodeContext) -> None:
    """MaxPool over two axes; padding that is neither SAME nor VALID becomes a PADV2 with the lowest value."""
    x = context.input()
    lengths = context.shape()[2:]
    window = window_of(context, context.ints("kernel_shape"), lengths)
    if (
        len(lengths) != 2
        or max(window.dilations) > 1
        or context.int("ceil_mode", 0)
        or len(context.node.outputs) > 1
    ):
        raise Refused("not a plain 2-D pool")
    padding = SAME if window.is_same(lengths) else VALID
    if padding == VALID:
        x = pad_channels_last(context, x, window.begin, window.end, np.finfo(np.float32).min)
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.filterHeight, options.filterWidth = window.kernel
    context.emit(Op.MAX_POOL_2D, [x], context.output(), options)
