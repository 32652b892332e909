"""Pooling: maxima, averages and norms over sliding windows, or over the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import is_constant, spatial
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.window import SAME, VALID, pad_channels_last, used_output
from toolchain.converters.tflite.program import Op, Tensor
from toolchain.converters.window import Window, spatial_lengths, window_of

NEVER_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp", "Sqrt")
DILATED_DEPTHWISE_VERSION = 2
BYTES_VERSION = 2


@dataclass(frozen=True)
class Plane:
    """One pooling over two axes of (N, H, W, C).

    Attributes:
        shape: the input's (N, H, W, C).
        window: over H and W, with just the padding that the outputs read.
        sizes: output height and width.
        counted: how much padding (before, after) of H and of W an average counts as zeros.
    """

    shape: tuple[int, ...]
    window: Window
    sizes: tuple[int, ...]
    counted: tuple[tuple[int, int], ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Input height and width."""
        return self.shape[1:3]

    @property
    def result(self) -> tuple[int, ...]:
        """The result's (N, H, W, C)."""
        return (self.shape[0], *self.sizes, self.shape[3])


def pool(context: NodeContext, lower: Callable[[NodeContext, Tensor, Plane], Tensor]) -> None:
    """Pool over one to three axes with a function that pools over two; all poolings here are separable."""
    lengths = spatial_lengths(context, 3)
    window = window_of(context, context.ints("kernel_shape", ()), lengths)
    size = context.out_shape()
    _check(window, lengths, size[2:], bool(context.int("ceil_mode", 0)))
    x = context.input()
    for plane in _planes(context, window, lengths, size[2:]):
        x = lower(context, steps.reshape(context, x, plane.shape), plane)
    steps.store(context, steps.reshape(context, x, [size[axis] for axis in context.perm]))


def _check(window: Window, lengths: tuple[int, ...], sizes: tuple[int, ...], ceil: bool) -> None:
    found = window.sizes(lengths, ceil)
    if found != tuple(sizes):
        raise Refused(
            f"pads and ceil_mode={int(ceil)} give the size {list(found)}, the graph says {list(sizes)}",
            "export again with a current exporter, or pad before the pool",
        )
    for axis, size in enumerate(sizes):
        last = (size - 1) * window.strides[axis] - window.begin[axis]
        if window.begin[axis] >= window.reach(axis) or last >= lengths[axis]:
            raise Refused(
                f"pads {[*window.begin, *window.end]} put a window wholly outside of the input",
                "use pads smaller than the kernel",
            )


def _planes(
    context: NodeContext, window: Window, lengths: tuple[int, ...], sizes: tuple[int, ...]
) -> Iterator[Plane]:
    """The pooling as poolings over two axes, each with the shape in which it sees the tensor."""
    include = context.int("count_include_pad", 0)
    counted = [ends if include else (0, 0) for ends in zip(window.begin, window.end, strict=True)]
    window = window.covering(lengths, sizes)
    n, c = context.shape()[:2]
    none = (0, 0)
    if len(lengths) == 1:
        yield Plane((n, 1, *lengths, c), window.row(), (1, *sizes), (none, counted[0]))
    elif len(lengths) == 2:
        yield Plane((n, *lengths, c), window, sizes, tuple(counted))
    else:
        depth, height, width = lengths
        area = height * width
        column = window.axes(0).column()
        yield Plane((n, depth, area, c), column, (sizes[0], area), (counted[0], none))
        rest = window.axes(1, 2)
        yield Plane((n * sizes[0], height, width, c), rest, sizes[1:], tuple(counted[1:]))


def _pool_2d(context: NodeContext, code: int, x: Tensor, plane: Plane, padding: int) -> Tensor:
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = plane.window.strides
    options.filterHeight, options.filterWidth = plane.window.kernel
    made = context.temp(plane.result, x.dtype, "pooled")
    return context.emit(code, [x], made, options, BYTES_VERSION if x.dtype == np.int8 else 1)


@lowers("MaxPool", layout=spatial)
def max_pool(context: NodeContext) -> None:
    """MaxPool: padding that is neither SAME nor VALID is put in front, with a value that never wins."""
    if used_output(context, 1):
        raise Refused(
            "the output Indices of MaxPool is used",
            "unpool with a mask of where the maximum was, or with strided convolutions",
        )
    pool(context, _max_plane)


def _max_plane(context: NodeContext, x: Tensor, plane: Plane) -> Tensor:
    window = plane.window
    if not window.dilated and window.is_same(plane.lengths):
        return _pool_2d(context, Op.MAX_POOL_2D, x, plane, SAME)
    value = None
    if window.padded and not _never_negative(context.onnx(0)):
        value = -np.inf if x.dtype == np.float32 else np.iinfo(x.dtype).min
    x = pad_channels_last(context, x, window.begin, window.end, value)
    if not window.dilated:
        return _pool_2d(context, Op.MAX_POOL_2D, x, plane, VALID)
    for axis in (0, 1):
        taps = [_tap(context, x, plane, axis, tap) for tap in range(window.kernel[axis])]
        x = taps[0]
        for tap in taps[1:]:
            x = steps.binary(context, Op.MAXIMUM, x, tap)
    return x


def _tap(context: NodeContext, x: Tensor, plane: Plane, axis: int, tap: int) -> Tensor:
    """What the windows of a dilated pool hold at one place along an axis."""
    window, size, place = plane.window, plane.sizes[axis], axis + 1
    begin, end, stride = [0, 0, 0, 0], list(x.shape), [1, 1, 1, 1]
    begin[place], stride[place] = tap * window.dilations[axis], window.strides[axis]
    end[place] = begin[place] + (size - 1) * stride[place] + 1
    bounds = [context.int_const(v, name) for v, name in ((begin, "begin"), (end, "end"), (stride, "strides"))]
    shape = [*x.shape[:place], size, *x.shape[place + 1 :]]
    return steps.emit(context, Op.STRIDED_SLICE, [x, *bounds], shape)


def _never_negative(value: ir.Value) -> bool:
    """Whether padding with zeros cannot change a maximum; XNNPACK has kernels for no other value."""
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "Clip" and len(node.inputs) > 1 and is_constant(node.inputs[1]):
        low = node.inputs[1].const_value  # type: ignore[union-attr]
        return low is not None and bool(low.numpy().min() >= 0)
    return node.op_type in NEVER_NEGATIVE


@lowers("AveragePool", layout=spatial)
def average_pool(context: NodeContext) -> None:
    """AveragePool, padding counted or not."""
    pool(context, _average_plane)


def _average_plane(context: NodeContext, x: Tensor, plane: Plane) -> Tensor:
    """AVERAGE_POOL_2D: SAME leaves padding out; else zeros are padded, and a factor corrects."""
    window = plane.window
    counts, inside = _counts(plane), _counts(replace(plane, counted=((0, 0), (0, 0))))
    if not window.dilated and window.is_same(plane.lengths) and (counts == inside).all():
        return _pool_2d(context, Op.AVERAGE_POOL_2D, x, plane, SAME)
    x = pad_channels_last(context, x, window.begin, window.end)
    if window.dilated:
        y = _weigh(context, x, plane, 1 / prod(window.kernel))
    else:
        y = _pool_2d(context, Op.AVERAGE_POOL_2D, x, plane, VALID)
    factor = (prod(window.kernel) / counts).astype(np.float32)
    if (factor == 1).all():
        return y
    return steps.binary(context, Op.MUL, y, context.const(factor[None, :, :, None], "correction"))


def _counts(plane: Plane) -> np.ndarray:
    """How many elements each window averages, as (height, width)."""
    along = []
    for axis in (0, 1):
        window, length, (before, after) = plane.window, plane.lengths[axis], plane.counted[axis]
        starts = np.arange(plane.sizes[axis]) * window.strides[axis] - window.begin[axis]
        taps = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        along.append(((taps >= -before) & (taps < length + after)).sum(axis=1))
    return along[0][:, None] * along[1][None, :]


def _weigh(context: NodeContext, x: Tensor, plane: Plane, weight: float) -> Tensor:
    """The sum over each window times a weight: a depthwise convolution with equal weights."""
    channels = plane.shape[3]
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = VALID
    options.depthMultiplier = 1
    options.strideH, options.strideW = plane.window.strides
    options.dilationHFactor, options.dilationWFactor = plane.window.dilations
    kernel = np.full((1, *plane.window.kernel, channels), weight, np.float32)
    inputs = [x, context.const(kernel, "weights"), context.const(np.zeros(channels, np.float32), "bias")]
    version = DILATED_DEPTHWISE_VERSION if max(plane.window.dilations) > 1 else 1
    made = context.temp(plane.result, x.dtype, "sums")
    return context.emit(Op.DEPTHWISE_CONV_2D, inputs, made, options, version)


@lowers("LpPool", layout=spatial)
def lp_pool(context: NodeContext) -> None:
    """LpPool: the root of the windows' sums of powers."""
    p = _norm(context)

    def plane_of(context: NodeContext, x: Tensor, plane: Plane) -> Tensor:
        x = pad_channels_last(context, _power(context, x, p), plane.window.begin, plane.window.end)
        return _root(context, _weigh(context, x, plane, 1), p)

    pool(context, plane_of)


def _norm(context: NodeContext) -> int:
    p = context.int("p", 2)
    if p < 1:
        raise Refused(f"p={p}", "use a p of 1 or more")
    return p


def _power(context: NodeContext, x: Tensor, p: int) -> Tensor:
    """|x| to the power of p."""
    if p == 2:
        return steps.binary(context, Op.MUL, x, x)
    x = steps.unary(context, Op.ABS, x)
    return x if p == 1 else steps.binary(context, Op.POW, x, p)


def _root(context: NodeContext, x: Tensor, p: int) -> Tensor:
    if p == 2:
        return steps.unary(context, Op.SQRT, x)
    return x if p == 1 else steps.binary(context, Op.POW, x, 1 / p)


def _reduce(context: NodeContext, code: int, x: Tensor) -> Tensor:
    """Reduce the spatial axes of (N, spatial..., C), which stay with length 1."""
    return steps.reduce(context, code, x, range(1, len(x.shape) - 1), True)


@lowers("GlobalAveragePool", layout=spatial)
def global_average_pool(context: NodeContext) -> None:
    """GlobalAveragePool: MEAN over the spatial axes."""
    spatial_lengths(context, 3)
    steps.store(context, _reduce(context, Op.MEAN, context.input()))


@lowers("GlobalMaxPool", layout=spatial)
def global_max_pool(context: NodeContext) -> None:
    """GlobalMaxPool: REDUCE_MAX over the spatial axes."""
    spatial_lengths(context, 3)
    steps.store(context, _reduce(context, Op.REDUCE_MAX, context.input()))


@lowers("GlobalLpPool", layout=spatial)
def global_lp_pool(context: NodeContext) -> None:
    """GlobalLpPool: the root of the sum of powers."""
    spatial_lengths(context, 3)
    p = _norm(context)
    steps.store(context, _root(context, _reduce(context, Op.SUM, _power(context, context.input(), p)), p))
