"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import is_constant, spatial
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops.window import (
    SAME,
    VALID,
    finish,
    pad_channels_last,
    picture,
    picture_output,
)
from toolchain.converters.tflite.program import Op, Tensor
from toolchain.converters.window import Window, same_padding, spatial_lengths, window_of

GROUPED_VERSION = 6
DILATED_DEPTHWISE_VERSION = 2
TRANSPOSE_CONV_BIAS_VERSION = 3


@lowers("Conv", layout=spatial)
def conv(context: NodeContext) -> None:
    """Conv: 1-D as a 2-D convolution of height 1, depthwise as DEPTHWISE_CONV_2D, grouped as CONV_2D."""
    lengths = spatial_lengths(context, 3)
    groups = context.int("group", 1)
    window = window_of(context, context.shape(1)[2:], lengths)
    window = window.covering(lengths, context.out_shape()[2:])
    bias = context.input(2) if context.given(2) else _no_bias(context, context.out_shape()[1])
    if len(lengths) == 3:
        _conv_3d(context, window, bias, groups)
        return
    if len(lengths) == 1:
        lengths, window = (1, *lengths), window.row()
    x = picture(context)
    padding = SAME if window.is_same(lengths) else VALID
    if padding == VALID:
        x = pad_channels_last(context, x, window.begin, window.end)
    depthwise = groups == x.shape[3] and groups > 1
    # (C * m, 1, kh, kw) -> (1, kh, kw, C * m), or (O, I, kh, kw) -> (O, kh, kw, I)
    kernel = _kernel(context, (1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
    finish(context, convolve(context, x, kernel, bias, window, padding, groups))


def _no_bias(context: NodeContext, channels: int) -> Tensor:
    return context.const(np.zeros(channels, np.float32), "bias")


def _kernel(context: NodeContext, perm: tuple[int, int, int, int]) -> Tensor:
    """The weights (a, b, kh, kw) in another order; those of a 1-D convolution get a height of 1."""
    shape = context.shape(1)
    if len(shape) == 4:
        return context.input_as(1, perm)
    value = context.onnx(1)
    if is_constant(value):
        assert value.const_value is not None
        return context.const(value.const_value.numpy()[:, :, None].transpose(perm), "weights")
    flat = tuple(axis - (axis > 2) for axis in perm if axis != 2)
    stored = tuple((*shape[:2], 1, shape[2])[axis] for axis in perm)
    return context.reshape(context.input_as(1, flat), stored, "weights")


def convolve(
    context: NodeContext,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor,
    window: Window,
    padding: int,
    groups: int,
) -> Tensor:
    """Emit the convolution that gives the node's output.

    Args:
        context: node being lowered.
        x: (N, H, W, C).
        kernel: (1, kh, kw, C * m) for depthwise, else (O, kh, kw, C / groups).
        bias: (O,).
        window: strides and dilations.
        padding: SAME or VALID.
        groups: number of groups; as many as channels (more than one) for depthwise.
    """
    depthwise = groups == x.shape[3] and groups > 1
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.dilationHFactor, options.dilationWFactor = window.dilations
    y = picture_output(context)
    if depthwise:
        options.depthMultiplier = kernel.shape[3] // groups
        version = DILATED_DEPTHWISE_VERSION if max(window.dilations) > 1 else 1
        return context.emit(Op.DEPTHWISE_CONV_2D, [x, kernel, bias], y, options, version)
    return context.emit(Op.CONV_2D, [x, kernel, bias], y, options, GROUPED_VERSION if groups > 1 else 1)


def _conv_3d(context: NodeContext, window: Window, bias: Tensor, groups: int) -> None:
    """CONV_3D, whose kernels know neither groups nor fast dilations."""
    if groups > 1:
        raise Refused(f"group={groups} of a 3-D convolution", "split the channels in the network")
    x = pad_channels_last(context, context.input(), window.begin, window.end)
    options = schema.Conv3DOptionsT()
    options.padding = VALID
    options.strideD, options.strideH, options.strideW = window.strides
    options.dilationDFactor, options.dilationHFactor, options.dilationWFactor = window.dilations
    # (O, I, kd, kh, kw) -> (kd, kh, kw, I, O)
    kernel = context.input_as(1, (2, 3, 4, 1, 0))
    context.emit(Op.CONV_3D, [x, kernel, bias], context.output(), options)


@lowers("ConvTranspose", layout=spatial)
def conv_transpose(context: NodeContext) -> None:
    """ConvTranspose: TRANSPOSE_CONV for one group, else a convolution over the input spread with zeros."""
    lengths = spatial_lengths(context, 2)
    sizes = context.out_shape()[2:]
    window = _transposed_window(context, lengths, sizes)
    if len(lengths) == 1:
        lengths, sizes, window = (1, *lengths), (1, *sizes), window.row()
    bias = context.input(2) if context.given(2) else None
    groups = context.int("group", 1)
    if groups == 1:
        y = _transpose_conv(context, window, lengths, sizes, bias)
    else:
        bias = _no_bias(context, context.out_shape()[1]) if bias is None else bias
        y = _spread_conv(context, window, lengths, sizes, bias, groups)
    finish(context, y)


def _transposed_window(context: NodeContext, lengths: Sequence[int], sizes: Sequence[int]) -> Window:
    """The window of a ConvTranspose node; its pads are what is cut off the full result.

    Raises:
        Refused: the graph's output size is not the one that the attributes give.
    """
    forward = window_of(context, context.shape(1)[2:], lengths)
    rank = len(lengths)
    extra = context.ints("output_padding", [0] * rank)
    auto_pad = context.string("auto_pad", "NOTSET")
    automatic = context.ints("output_shape") is not None or auto_pad.startswith("SAME")
    begin, end = list(forward.begin), list(forward.end)
    for axis, (length, size) in enumerate(zip(lengths, sizes, strict=True)):
        full = (length - 1) * forward.strides[axis] + forward.reach(axis) + extra[axis]
        if automatic:
            total = max(full - size, 0)
            small, large = total // 2, total - total // 2
            begin[axis], end[axis] = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        elif full - begin[axis] - end[axis] != size:
            raise Refused(
                f"pads and output_padding give the output size {full - begin[axis] - end[axis]},"
                f" the graph says {size}",
                "check the file with onnx.checker",
            )
    return replace(forward, begin=tuple(begin), end=tuple(end))


def _transpose_conv(
    context: NodeContext, window: Window, lengths: Sequence[int], sizes: Sequence[int], bias: Tensor | None
) -> Tensor:
    """TRANSPOSE_CONV, and a SLICE where the pads are not those of SAME or VALID."""
    full = [(length - 1) * window.strides[axis] + window.reach(axis) for axis, length in enumerate(lengths)]
    for axis in (0, 1):
        beyond = sizes[axis] + window.begin[axis] - full[axis]
        if beyond >= window.strides[axis] and beyond > 0:
            raise Refused(
                f"output_padding or output_shape adds {beyond} rows, not less than the stride"
                f" {window.strides[axis]}",
                "pad the result in the network instead",
            )
        full[axis] += max(beyond, 0)
    x = picture(context)
    # (C, O, kh, kw) -> (O, kh, kw, C)
    if window.dilated:
        kernel = context.const(_stuffed(context, window).transpose(1, 2, 3, 0), "weights")
    else:
        kernel = _kernel(context, (1, 2, 3, 0))
    y = picture_output(context)
    options = schema.TransposeConvOptionsT()
    options.padding = SAME if _is_same_transposed(window, lengths, sizes) else VALID
    options.strideH, options.strideW = window.strides
    whole = options.padding == SAME or full == list(sizes)
    shape = y.shape if whole else (y.shape[0], *full, y.shape[3])
    made = y if whole else context.temp(shape, y.dtype, "full")
    inputs = [context.int_const(shape, "shape"), kernel, x] + ([] if bias is None else [bias])
    context.emit(Op.TRANSPOSE_CONV, inputs, made, options, 1 if bias is None else TRANSPOSE_CONV_BIAS_VERSION)
    return made if whole else _slice(context, made, (0, *window.begin, 0), y)


def _is_same_transposed(window: Window, lengths: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether a convolution with padding SAME and these pads goes back from these sizes to the lengths."""
    return all(
        -(-size // stride) == length and begin == same_padding(size, stride, window.reach(axis)) // 2
        for axis, (length, size, stride, begin) in enumerate(
            zip(lengths, sizes, window.strides, window.begin, strict=True)
        )
    )


def _slice(context: NodeContext, x: Tensor, begin: Sequence[int], y: Tensor) -> Tensor:
    bounds = [context.int_const(begin, "begin"), context.int_const(y.shape, "size")]
    return context.emit(Op.SLICE, [x, *bounds], y, schema.SliceOptionsT())


def _weights_2d(context: NodeContext) -> np.ndarray:
    weights = context.constant(1, "the weight")
    return weights[:, :, None] if weights.ndim == 3 else weights


def _stuffed(context: NodeContext, window: Window) -> np.ndarray:
    """The weights with zeros between the taps, so that they need no dilation."""
    weights = _weights_2d(context)
    stuffed = np.zeros((*weights.shape[:2], window.reach(0), window.reach(1)), weights.dtype)
    stuffed[:, :, :: window.dilations[0], :: window.dilations[1]] = weights
    return stuffed


def _spread_conv(
    context: NodeContext,
    window: Window,
    lengths: Sequence[int],
    sizes: Sequence[int],
    bias: Tensor,
    groups: int,
) -> Tensor:
    """A transposed convolution by definition: zeros between the elements, then the kernel turned round."""
    # (groups, I, O, kh, kw), the taps in reverse
    weights = _weights_2d(context)[:, :, ::-1, ::-1]
    weights = weights.reshape(groups, -1, *weights.shape[1:])
    x = _spread(context, picture(context), window.strides)
    channels, taps = x.shape[3], weights.shape[3:]
    if groups == channels:
        kernel = weights[:, 0].transpose(2, 3, 0, 1).reshape(1, *taps, -1)
    else:
        kernel = weights.transpose(0, 2, 3, 4, 1).reshape(-1, *taps, channels // groups)
    begin = [window.reach(axis) - 1 - window.begin[axis] for axis in (0, 1)]
    end = [
        sizes[axis] + window.reach(axis) - 1 - lengths[axis] * window.strides[axis] - begin[axis]
        for axis in (0, 1)
    ]
    x = _fit(context, x, begin, end)
    unit = replace(window, strides=(1, 1))
    return convolve(context, x, context.const(kernel, "weights"), bias, unit, VALID, groups)


def _spread(context: NodeContext, x: Tensor, strides: Sequence[int]) -> Tensor:
    """(N, H, W, C) -> (N, H * sh, W * sw, C): each element followed by zeros."""
    n, height, width, channels = x.shape
    down, across = strides
    if across > 1:
        x = context.reshape(x, (n * height, width, 1, channels), "columns")
        x = pad_channels_last(context, x, (0, 0), (0, across - 1))
    if down > 1:
        x = context.reshape(x, (n, height, 1, width * across * channels), "rows")
        x = pad_channels_last(context, x, (0, 0), (0, down - 1))
    return (
        context.reshape(x, (n, height * down, width * across, channels), "spread") if max(strides) > 1 else x
    )


def _fit(context: NodeContext, x: Tensor, begin: Sequence[int], end: Sequence[int]) -> Tensor:
    """Pad the spatial axes of (N, H, W, C), or cut where the amount is negative."""
    if min(*begin, *end) < 0:
        cut = [max(-amount, 0) for amount in begin]
        lengths = [x.shape[axis + 1] - cut[axis] - max(-end[axis], 0) for axis in (0, 1)]
        made = context.temp((x.shape[0], *lengths, x.shape[3]), x.dtype, "cut")
        x = _slice(context, x, (0, *cut, 0), made)
    return pad_channels_last(context, x, [max(a, 0) for a in begin], [max(a, 0) for a in end])
