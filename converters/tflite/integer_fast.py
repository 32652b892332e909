"""Forms of operators for which LiteRT has fast integer kernels, where its own kernel for them is slow.

Time for 262,144 elements with 64 channels, LiteRT 2.3 with XNNPACK, one thread of a server processor with
AVX-512, in microseconds. "int8" is the operator's own kernel, "here" what this file makes of it. XNNPACK
makes one table of a chain of functions of one tensor: HARD_SWISH and Swish take as long as LOGISTIC.

| operator | float32 | int8 | here | form |
| --- | --- | --- | --- | --- |
| RELU, RELU6 (not fused) | 140 | 2400 | 10 | QUANTIZE, which saturates; MAXIMUM, MINIMUM (8 each) if not |
| ABS | 53 to 190 | 2050 | 14 | LEAKY_RELU with slope -1 |
| PRELU | 150 | 2360 | 90 | LEAKY_RELU with one slope, else max(x, slope * x) |
| HARD_SWISH | 43 to 160 | 1080 | 28 | x * saturated(x / 6 + 0.5) |
| AVERAGE_POOL_2D, 3x3, stride 2 | 22 | 270 | 31 | DEPTHWISE_CONV_2D, equal weights; MEAN of a whole picture |
| SOFTMAX | 207 | 690 | | none; as floats, with conversions, about 260 |
| BATCH_MATMUL, 4 x (196, 64) x (64, 196) | 298 | 1660 | 69 to 125 | second operand with zero point 0 |
| GELU, EXP | 75 | 92 | | tables; as fast as it gets |
| LOGISTIC, TANH, ELU | 60 | 28 | | |
| LOGISTIC and MUL (Swish) | 107 | 29 | | |
| LEAKY_RELU | 39 | 14 | | |
| ADD, SUB of activations | 60 | 43 | | |
| MUL | 27 to 46 | 50 to 68 | | |
| MEAN, REDUCE_MAX of pictures | 15 | 5 | | |
| MAX_POOL_2D, SLICE, GATHER, MAXIMUM, RESIZE_NEAREST_NEIGHBOR | 1 | 0.2 to 0.35 | | relative |
| CONV_2D, FULLY_CONNECTED | 1 | 0.19 to 0.28 | | relative |
| TRANSPOSE_CONV | 1 | 0.4 | | relative |
| DEPTHWISE_CONV_2D, 7x7, 64 channels, 28x28 | 1350 | 1870 | 180 | CONV_2D in groups of 16 channels |
| DEPTHWISE_CONV_2D up to 5x5, RESIZE_BILINEAR | 1 | 0.8 to 1.3 | | relative |
| MIRROR_PAD, BROADCAST_TO | 1 | 1 | | relative; slow in both |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.tflite.integer_constants import own_parameters
from toolchain.converters.tflite.program import Activation, Op, Operator, Program, Tensor

INT8 = np.dtype(np.int8)
VALID = schema.Padding.VALID
# XNNPACK's depthwise kernels hold this many taps; operators with more are computed by slow built-in ones.
MOST_TAPS = 25
# Channels in a group of the convolution that stands for such an operator; XNNPACK computes so many at once.
GROUP = 16


def fast_forms(program: Program, kept_float: Collection[str]) -> None:
    """Replace operators by their fast forms, in place, before they become integer operators.

    Only operators whose operands and results are stored as int8 are touched. Results differ from those of
    the operator's own kernel by one step at most.
    """
    operators: list[Operator] = []
    for operator in program.operators:
        form = _FORMS.get(_stored_type(operator), {}).get(operator.code)
        kept = operator.origin is not None and operator.origin.name in kept_float
        made = None if form is None or kept else form(operator)
        operators += [operator] if made is None else made
    program.operators = operators
    _drop_equal(program)


def _stored_type(operator: Operator) -> np.dtype | None:
    """The one type in which operands and results are stored; None if some have no scale, or another type."""
    known = [used for used in operator.inputs if used is not None and used.data is None]
    found = [tensor.quantization for tensor in [*known, *operator.outputs]]
    types = {q.dtype if q is not None and q.scale.size == 1 else None for q in found}
    return types.pop() if len(types) == 1 else None


def _quantization(tensor: Tensor | None) -> Quantization:
    assert tensor is not None
    assert tensor.quantization is not None
    return tensor.quantization


class _Maker:
    """Makes operators in the place of one."""

    def __init__(self, operator: Operator) -> None:
        self.origin = operator.origin
        self.base = operator.outputs[0].name
        self.made: list[Operator] = []

    def temp(self, like: Tensor, found: Quantization, suffix: str) -> Tensor:
        return Tensor(f"{self.base}/{suffix}", like.shape, like.dtype, None, found)

    def number(self, value: float, suffix: str) -> Tensor:
        data = np.array(value, np.float32)
        return Tensor(f"{self.base}/{suffix}", (), data.dtype, data)

    def emit(self, code: int, inputs: list[Tensor | None], made: Tensor, options: object = None) -> Tensor:
        self.made.append(Operator(code, inputs, [made], options, 1, self.origin))
        return made


def _clamp(operator: Operator, low: float | None, high: float | None) -> list[Operator]:
    """Bounds: saturated by the scale of the result where it ends there, else MAXIMUM and MINIMUM."""
    maker = _Maker(operator)
    x, y = operator.inputs[0], operator.outputs[0]
    found = _quantization(y)
    bounds: list[tuple[int, float]] = []
    if low is not None and found.stored(np.array(low)) > -128:
        bounds.append((Op.MAXIMUM, low))
    if high is not None and found.stored(np.array(high)) < 127:
        bounds.append((Op.MINIMUM, high))
    for place, (code, bound) in enumerate(bounds):
        made = y if place == len(bounds) - 1 else maker.temp(y, found, "bounded")
        options = _bounds_options()
        x = maker.emit(code, [x, maker.number(bound, "bound")], made, options)
    if not bounds:
        maker.emit(Op.QUANTIZE, [x], y, schema.QuantizeOptionsT())
    return maker.made


def _bounded(operator: Operator) -> list[Operator] | None:
    """MAXIMUM or MINIMUM with a number."""
    for x, bound in (operator.inputs, operator.inputs[::-1]):
        if x is not None and x.data is None and bound is not None and bound.data is not None:
            if bound.data.size != 1 or x.shape != operator.outputs[0].shape:
                return None
            number = float(bound.data.reshape(-1)[0])
            plain = replace_inputs(operator, [x])
            return _clamp(plain, number, None) if operator.code == Op.MAXIMUM else _clamp(plain, None, number)
    return None


def replace_inputs(operator: Operator, inputs: list[Tensor | None]) -> Operator:
    """The same operator with other inputs."""
    return Operator(operator.code, inputs, operator.outputs, operator.options, 1, operator.origin)


def _leaky(maker: _Maker, x: Tensor | None, y: Tensor, alpha: float) -> list[Operator]:
    options = schema.LeakyReluOptionsT()
    options.alpha = alpha
    maker.emit(Op.LEAKY_RELU, [x], y, options)
    return maker.made


def _absolute(operator: Operator) -> list[Operator]:
    """|x| = x * -1 where x is negative."""
    return _leaky(_Maker(operator), operator.inputs[0], operator.outputs[0], -1.0)


def _prelu(operator: Operator) -> list[Operator] | None:
    """max(x, slope * x) for slopes from 0 to 1; both sides are stored as the result."""
    maker = _Maker(operator)
    (x, slope), y = operator.inputs, operator.outputs[0]
    if slope is None or slope.data is None:
        return None
    low, high = float(slope.data.min()), float(slope.data.max())
    if low == high and low != 0:
        return _leaky(maker, x, y, low)
    if low < 0 or high > 1:
        return _split_prelu(maker, x, slope, y)
    found = _quantization(y)
    scaled = maker.emit(Op.MUL, [x, slope], maker.temp(y, found, "scaled"), schema.MulOptionsT())
    maker.emit(Op.MAXIMUM, [x, scaled], y, _bounds_options())
    return maker.made


def _split_prelu(maker: _Maker, x: Tensor | None, slope: Tensor, y: Tensor) -> list[Operator]:
    """max(x, 0) + slope * min(x, 0) for any slopes."""
    assert x is not None
    assert slope.data is not None
    given = _quantization(x)
    positive = maker.emit(
        Op.MAXIMUM, [x, maker.number(0, "zero")], maker.temp(y, given, "positive"), _bounds_options()
    )
    negative = maker.emit(
        Op.MINIMUM, [x, maker.number(0, "zero")], maker.temp(y, given, "negative"), _bounds_options()
    )
    lowest = float(given.real(np.array(np.iinfo(given.dtype).min)))
    scaled = own_parameters(slope.data * np.float32(lowest), given.dtype)
    product = maker.emit(Op.MUL, [negative, slope], maker.temp(y, scaled, "scaled"), schema.MulOptionsT())
    maker.emit(Op.ADD, [positive, product], y, schema.AddOptionsT())
    return maker.made


def _bounds_options() -> schema.MaximumMinimumOptionsT:
    return schema.MaximumMinimumOptionsT()


def _hard_swish(operator: Operator) -> list[Operator]:
    """x * (x / 6 + 0.5), the factor stored from 0 to 1, so that it saturates where it must."""
    maker = _Maker(operator)
    x, y = operator.inputs[0], operator.outputs[0]
    assert x is not None
    given = _quantization(x)
    sixth = replace(given, scale=(given.scale / np.float32(6)).astype(np.float32))
    limits = np.iinfo(given.dtype)
    least = limits.min if given.dtype == INT8 else 0
    unit = Quantization(
        np.array([1 / (limits.max - least)], np.float32), np.array([least], np.int64), given.dtype
    )
    options = schema.AddOptionsT()
    options.fusedActivationFunction = Activation.RELU
    line = maker.emit(
        Op.MUL, [x, maker.number(1 / 6, "sixth")], maker.temp(y, sixth, "line"), schema.MulOptionsT()
    )
    gate = maker.emit(Op.ADD, [line, maker.number(0.5, "half")], maker.temp(y, unit, "gate"), options)
    maker.emit(Op.MUL, [x, gate], y, schema.MulOptionsT())
    return maker.made


def _average_pool(operator: Operator) -> list[Operator] | None:
    """A depthwise convolution with equal weights, where no window reaches beyond the picture."""
    maker, pool = _Maker(operator), operator.options
    x, y = operator.inputs[0], operator.outputs[0]
    assert x is not None
    taps, strides = (pool.filterHeight, pool.filterWidth), (pool.strideH, pool.strideW)
    sizes = tuple(
        (size - tap) // stride + 1 for size, tap, stride in zip(x.shape[1:3], taps, strides, strict=True)
    )
    inside = pool.padding == VALID or all(
        (y.shape[axis + 1] - 1) * strides[axis] + taps[axis] <= x.shape[axis + 1] for axis in (0, 1)
    )
    if not inside or sizes != y.shape[1:3]:
        return None
    if taps == x.shape[1:3] and pool.fusedActivationFunction == Activation.NONE:
        axes = np.array([1, 2], np.int32)
        options = schema.ReducerOptionsT()
        options.keepDims = True
        maker.emit(Op.MEAN, [x, Tensor(f"{y.name}/axes", axes.shape, axes.dtype, axes)], y, options)
        return maker.made
    channels = x.shape[3]
    weights = np.full((1, *taps, channels), 1 / (taps[0] * taps[1]), np.float32)
    bias = np.zeros(channels, np.float32)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.depthMultiplier = VALID, 1
    options.strideH, options.strideW = strides
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = pool.fusedActivationFunction
    inputs: list[Tensor | None] = [
        x,
        Tensor(f"{y.name}/weights", weights.shape, weights.dtype, weights),
        Tensor(f"{y.name}/bias", bias.shape, bias.dtype, bias),
    ]
    maker.emit(Op.DEPTHWISE_CONV_2D, inputs, y, options)
    return _large_depthwise(maker.made[0]) or maker.made


def _large_depthwise(operator: Operator) -> list[Operator] | None:
    """A convolution in groups, whose weights are 0 but for each channel's own: the same sums, exactly.

    Products with 0 cost less than the depthwise kernels for so many taps; the weights take more room by the
    size of a group.
    """
    (x, weights, *bias), given = operator.inputs, operator.options
    if x is None or weights is None or weights.data is None:
        return None
    _, height, width, channels = weights.shape
    size = max(count for count in range(1, GROUP + 1) if channels % count == 0)
    if height * width <= MOST_TAPS or given.depthMultiplier != 1 or size == 1:
        return None
    data = np.zeros((channels, height, width, size), weights.data.dtype)
    place = np.arange(channels)
    data[place, :, :, place % size] = weights.data[0].transpose(2, 0, 1)
    options = schema.Conv2DOptionsT()
    for name in ("padding", "strideH", "strideW", "dilationHFactor", "dilationWFactor"):
        setattr(options, name, getattr(given, name))
    options.fusedActivationFunction = given.fusedActivationFunction
    maker = _Maker(operator)
    grouped = Tensor(f"{weights.name}/grouped", data.shape, data.dtype, data)
    maker.emit(Op.CONV_2D, [x, grouped, *bias], operator.outputs[0], options)
    return maker.made


def _batch_matmul(operator: Operator) -> list[Operator] | None:
    """The second operand is stored with zero point 0, which XNNPACK demands."""
    b = operator.inputs[1]
    if b is None or b.data is not None or not _quantization(b).zero_point.any():
        return None
    maker, found = _Maker(operator), _quantization(b)
    most = np.abs(found.real(np.array([-128, 127]))).max() / 127
    symmetric = Quantization(np.array([most], np.float32), np.zeros(1, np.int64), INT8)
    stored = maker.emit(Op.QUANTIZE, [b], maker.temp(b, symmetric, "symmetric"), schema.QuantizeOptionsT())
    maker.emit(Op.BATCH_MATMUL, [operator.inputs[0], stored], operator.outputs[0], operator.options)
    return maker.made


_Form = Callable[[Operator], list[Operator] | None]
_FORMS: dict[np.dtype | None, dict[int, _Form]] = {
    INT8: {
        Op.RELU: lambda operator: _clamp(operator, 0.0, None),
        Op.RELU6: lambda operator: _clamp(operator, 0.0, 6.0),
        Op.RELU_N1_TO_1: lambda operator: _clamp(operator, -1.0, 1.0),
        Op.MAXIMUM: _bounded,
        Op.MINIMUM: _bounded,
        Op.ABS: _absolute,
        Op.PRELU: _prelu,
        Op.HARD_SWISH: _hard_swish,
        Op.AVERAGE_POOL_2D: _average_pool,
        Op.DEPTHWISE_CONV_2D: _large_depthwise,
        Op.BATCH_MATMUL: _batch_matmul,
    },
    # There are no kernels of int16 for these.
    np.dtype(np.int16): {Op.ABS: _absolute, Op.PRELU: _prelu, Op.HARD_SWISH: _hard_swish},
}


def _drop_equal(program: Program) -> None:
    """Leave out each QUANTIZE that changes no parameter.

    Its readers read what it reads; if it makes an output of the program, what it reads is made as the output.
    """
    fixed = {id(tensor) for tensor in [*program.inputs, *program.outputs]}
    uses = Counter(id(used) for operator in program.operators for used in operator.inputs)
    producers = {id(made): operator for operator in program.operators for made in operator.outputs}
    replaced: dict[int, Tensor] = {}
    kept: list[Operator] = []
    for operator in program.operators:
        operator.inputs = [used if used is None else replaced.get(id(used), used) for used in operator.inputs]
        if operator.code != Op.QUANTIZE or not _quantization(operator.inputs[0]).same(_own(operator)):
            kept.append(operator)
            continue
        x, y = operator.inputs[0], operator.outputs[0]
        assert x is not None
        if id(y) not in fixed:
            replaced[id(y)] = x
        elif uses[id(x)] == 1 and id(x) not in fixed:
            producer = producers[id(x)]
            producer.outputs = [y if made is x else made for made in producer.outputs]
        else:
            kept.append(operator)
    program.operators = kept


def _own(operator: Operator) -> Quantization:
    return _quantization(operator.outputs[0])
