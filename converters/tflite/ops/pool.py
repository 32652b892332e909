"""Pooling: maxima, averages and norms over sliding windows, or over the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import is_constant, spatial
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops.window import (
    SAME,
    VALID,
    Window,
    pad_channels_last,
    spatial_lengths,
    used_output,
    window_of,
)
from toolchain.converters.tflite.program import Op, Tensor

NEVER_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp", "Sqrt")
DILATED_DEPTHWISE_VERSION = 2


@dataclass(frozen=True)
class Plane:
    """One pooling over two axes of (N, H, W, C).

    Attributes:
        shape: the input's (N, H, W, C).
        window: over H and W, with just the padding that the outputs read.
        sizes: output height and width.
        counted: how much padding (before, after) of H and of W an average counts as zeros.
        last: whether the result is the node's output as it is.
    """

    shape: tuple[int, ...]
    window: Window
    sizes: tuple[int, ...]
    counted: tuple[tuple[int, int], ...]
    last: bool

    def output(self, context: NodeContext, x: Tensor) -> Tensor:
        """The tensor for the result."""
        shape = (self.shape[0], *self.sizes, self.shape[3])
        return context.output() if self.last else context.temp(shape, x.dtype, "pooled")

    def between(self, context: NodeContext, x: Tensor, suffix: str) -> Tensor:
        """A tensor of the result's shape that is not the result yet."""
        return context.temp((self.shape[0], *self.sizes, self.shape[3]), x.dtype, suffix)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Input height and width."""
        return self.shape[1:3]


def pool(context: NodeContext, lower: Callable[[NodeContext, Tensor, Plane], Tensor]) -> None:
    """Pool over one to three axes with a function that pools over two; all poolings here are separable."""
    lengths = spatial_lengths(context, 3)
    window = window_of(context, context.ints("kernel_shape", ()), lengths)
    sizes = context.out_shape()[2:]
    _check(window, lengths, sizes, bool(context.int("ceil_mode", 0)))
    x = context.input()
    for plane in _planes(context, window, lengths, sizes):
        if x.shape != plane.shape:
            x = context.reshape(x, plane.shape, "plane")
        x = lower(context, x, plane)
    if len(lengths) != 2:
        context.reshape_to_output(x)


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
        yield Plane((n, 1, *lengths, c), window.row(), (1, *sizes), (none, counted[0]), False)
    elif len(lengths) == 2:
        yield Plane((n, *lengths, c), window, sizes, tuple(counted), True)
    else:
        depth, height, width = lengths
        area = height * width
        column = window.axes(0).column()
        yield Plane((n, depth, area, c), column, (sizes[0], area), (counted[0], none), False)
        rest = window.axes(1, 2)
        yield Plane((n * sizes[0], height, width, c), rest, sizes[1:], tuple(counted[1:]), False)


def _pool_2d(context: NodeContext, code: int, x: Tensor, plane: Plane, padding: int, y: Tensor) -> Tensor:
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = plane.window.strides
    options.filterHeight, options.filterWidth = plane.window.kernel
    return context.emit(code, [x], y, options, 2 if x.dtype == np.int8 else 1)


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
        return _pool_2d(context, Op.MAX_POOL_2D, x, plane, SAME, plane.output(context, x))
    value = None
    if window.padded and not _never_negative(context.onnx(0)):
        value = -np.inf if x.dtype == np.float32 else np.iinfo(x.dtype).min
    x = pad_channels_last(context, x, window.begin, window.end, value)
    if window.dilated:
        return _max_of_taps(context, x, plane)
    return _pool_2d(context, Op.MAX_POOL_2D, x, plane, VALID, plane.output(context, x))


def _never_negative(value: ir.Value) -> bool:
    """Whether padding with zeros cannot change a maximum; XNNPACK has kernels for no other value."""
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "Clip" and len(node.inputs) > 1 and is_constant(node.inputs[1]):
        low = node.inputs[1].const_value  # type: ignore[union-attr]
        return low is not None and bool(low.numpy().min() >= 0)
    return node.op_type in NEVER_NEGATIVE


def _max_of_taps(context: NodeContext, x: Tensor, plane: Plane) -> Tensor:
    """A dilated pool: MAXIMUM of strided slices, one axis after the other."""
    window = plane.window
    for axis in (0, 1):
        size = plane.sizes[axis]
        shape = tuple(size if place == axis + 1 else length for place, length in enumerate(x.shape))
        taps = []
        for tap in range(window.kernel[axis]):
            begin = [0, 0, 0, 0]
            begin[axis + 1] = tap * window.dilations[axis]
            end = list(x.shape)
            end[axis + 1] = begin[axis + 1] + (size - 1) * window.strides[axis] + 1
            steps = [1, 1, 1, 1]
            steps[axis + 1] = window.strides[axis]
            bounds = [
                context.int_const(v, name) for v, name in ((begin, "begin"), (end, "end"), (steps, "steps"))
            ]
            made = context.temp(shape, x.dtype, "tap")
            version = 2 if x.dtype == np.int8 else 1
            taps.append(
                context.emit(Op.STRIDED_SLICE, [x, *bounds], made, schema.StridedSliceOptionsT(), version)
            )
        x = taps[0]
        for index, tap in enumerate(taps[1:], 2):
            final = axis == 1 and index == len(taps)
            made = plane.output(context, x) if final else context.temp(shape, x.dtype, "maximum")
            version = 2 if x.dtype == np.int8 else 1
            x = context.emit(Op.MAXIMUM, [x, tap], made, schema.MaximumMinimumOptionsT(), version)
    return x


@lowers("AveragePool", layout=spatial)
def average_pool(context: NodeContext) -> None:
    """AveragePool, padding counted or not."""
    pool(context, _average_plane)


def _average_plane(context: NodeContext, x: Tensor, plane: Plane) -> Tensor:
    """AVERAGE_POOL_2D: SAME leaves padding out; else zeros are padded, and a factor corrects."""
    window = plane.window
    counts = _counts(plane)
    inside = _counts(Plane(plane.shape, window, plane.sizes, ((0, 0), (0, 0)), plane.last))
    if not window.dilated and window.is_same(plane.lengths) and (counts == inside).all():
        return _pool_2d(context, Op.AVERAGE_POOL_2D, x, plane, SAME, plane.output(context, x))
    x = pad_channels_last(context, x, window.begin, window.end)
    factor = prod(window.kernel) / counts
    exact = bool((factor == 1).all())
    y = plane.output(context, x) if exact else plane.between(context, x, "average")
    if window.dilated:
        _weigh(context, x, plane, 1 / prod(window.kernel), y)
    else:
        _pool_2d(context, Op.AVERAGE_POOL_2D, x, plane, VALID, y)
    if exact:
        return y
    correction = context.const(factor.astype(np.float32)[None, :, :, None], "correction")
    return context.emit(Op.MUL, [y, correction], plane.output(context, x), schema.MulOptionsT())


def _counts(plane: Plane) -> np.ndarray:
    """How many elements each window averages, as (height, width)."""
    along = []
    for axis in (0, 1):
        window, length, (before, after) = plane.window, plane.lengths[axis], plane.counted[axis]
        starts = np.arange(plane.sizes[axis]) * window.strides[axis] - window.begin[axis]
        taps = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        along.append(((taps >= -before) & (taps < length + after)).sum(axis=1))
    return along[0][:, None] * along[1][None, :]


def _weigh(context: NodeContext, x: Tensor, plane: Plane, weight: float, y: Tensor) -> Tensor:
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
    return context.emit(Op.DEPTHWISE_CONV_2D, inputs, y, options, version)


@lowers("LpPool", layout=spatial)
def lp_pool(context: NodeContext) -> None:
    """LpPool with p of 1 or 2: the windows' sums of magnitudes, or the root of the sums of squares."""
    root = _norm(context)

    def plane_of(context: NodeContext, x: Tensor, plane: Plane) -> Tensor:
        made = context.temp(x.shape, x.dtype, "power")
        x = _power(context, x, root, made)
        x = pad_channels_last(context, x, plane.window.begin, plane.window.end)
        if not root:
            return _weigh(context, x, plane, 1, plane.output(context, x))
        y = _weigh(context, x, plane, 1, plane.between(context, x, "sum"))
        return context.emit(Op.SQRT, [y], plane.output(context, x))

    pool(context, plane_of)


def _norm(context: NodeContext) -> bool:
    """Whether the norm is Euclidean."""
    p = context.int("p", 2)
    if p not in (1, 2):
        raise Refused(f"p={p}", "use p=1 or p=2")
    return p == 2


def _power(context: NodeContext, x: Tensor, square: bool, y: Tensor) -> Tensor:
    if square:
        return context.emit(Op.MUL, [x, x], y, schema.MulOptionsT())
    return context.emit(Op.ABS, [x], y, schema.AbsOptionsT())


def _reduce(context: NodeContext, code: int, x: Tensor, y: Tensor) -> Tensor:
    """Reduce the spatial axes of (N, spatial..., C), which stay with length 1."""
    options = schema.ReducerOptionsT()
    options.keepDims = True
    return context.emit(code, [x, context.int_const(range(1, len(x.shape) - 1), "axes")], y, options)


@lowers("GlobalAveragePool", layout=spatial)
def global_average_pool(context: NodeContext) -> None:
    """GlobalAveragePool: MEAN over the spatial axes."""
    spatial_lengths(context, 3)
    _reduce(context, Op.MEAN, context.input(), context.output())


@lowers("GlobalMaxPool", layout=spatial)
def global_max_pool(context: NodeContext) -> None:
    """GlobalMaxPool: REDUCE_MAX over the spatial axes."""
    spatial_lengths(context, 3)
    _reduce(context, Op.REDUCE_MAX, context.input(), context.output())


@lowers("GlobalLpPool", layout=spatial)
def global_lp_pool(context: NodeContext) -> None:
    """GlobalLpPool with p of 1 or 2."""
    spatial_lengths(context, 3)
    root = _norm(context)
    x = context.input()
    x = _power(context, x, root, context.temp(x.shape, x.dtype, "power"))
    y = context.output()
    total = context.temp(y.shape, x.dtype, "sum") if root else y
    _reduce(context, Op.SUM, x, total)
    if root:
        context.emit(Op.SQRT, [total], y)
