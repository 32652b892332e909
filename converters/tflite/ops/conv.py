"""Convolutions."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.layout import spatial
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops.window import SAME, VALID, Window, pad_channels_last, window_of
from toolchain.converters.tflite.program import Op, Tensor

GROUPED_VERSION = 6
DILATED_DEPTHWISE_VERSION = 2


@lowers("Conv", layout=spatial)
def conv(context: NodeContext) -> None:
    """Conv: 1-D as a 2-D convolution of height 1, depthwise as DEPTHWISE_CONV_2D, grouped as CONV_2D."""
    weights = context.constant(1, "the weights")
    bias = context.optional_constant(2, "the bias")
    x = context.input()
    groups = context.int("group", 1)
    lengths = context.shape()[2:]
    if weights.dtype != np.float32:
        raise Refused(f"weights are {weights.dtype}")
    window = window_of(context, weights.shape[2:], lengths)
    if len(lengths) == 1:
        x = context.reshape(x, (x.shape[0], 1, *x.shape[1:]), "row")
        weights, lengths, window = weights[:, :, None], (1, *lengths), _row(window)
    elif len(lengths) != 2:
        raise Refused(f"{len(lengths)}-D convolution", "TFLite's fast kernels know one and two dimensions")
    padding = SAME if window.is_same(lengths) else VALID
    if padding == VALID:
        x = pad_channels_last(context, x, window.begin, window.end)
    if bias is None:
        bias = np.zeros(weights.shape[0], np.float32)
    y = _convolve(context, x, weights, context.const(bias, "bias"), window, padding, groups)
    if len(context.shape()) == 3:
        context.reshape_to_output(y)


def _row(window: Window) -> Window:
    """A 1-D window as a 2-D one over a picture of height 1."""
    return Window(
        (1, *window.kernel),
        (1, *window.strides),
        (1, *window.dilations),
        (0, *window.begin),
        (0, *window.end),
    )


def _convolve(
    context: NodeContext,
    x: Tensor,
    weights: np.ndarray,
    bias: Tensor,
    window: Window,
    padding: int,
    groups: int,
) -> Tensor:
    """Emit the convolution of (N, H, W, C) with weights (O, I / groups, kh, kw)."""
    channels = x.shape[3]
    depthwise = groups == channels and groups > 1
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.dilationHFactor, options.dilationWFactor = window.dilations
    if len(context.shape()) == 3:
        height, width = 1, context.out_shape()[2]
        y = context.temp((x.shape[0], height, width, weights.shape[0]), x.dtype, "rows")
    else:
        y = context.output()
    if depthwise:
        options.depthMultiplier = weights.shape[0] // channels
        # (C * m, 1, kh, kw) -> (1, kh, kw, C * m)
        kernel = context.const(weights.transpose(1, 2, 3, 0), "weights")
        version = DILATED_DEPTHWISE_VERSION if max(window.dilations) > 1 else 1
        return context.emit(Op.DEPTHWISE_CONV_2D, [x, kernel, bias], y, options, version)
    # (O, I, kh, kw) -> (O, kh, kw, I)
    kernel = context.const(weights.transpose(0, 2, 3, 1), "weights")
    return context.emit(Op.CONV_2D, [x, kernel, bias], y, options, GROUPED_VERSION if groups > 1 else 1)
