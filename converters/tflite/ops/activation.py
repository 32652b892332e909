"""Activations: element by element, and the softmax family."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema
from numpy.polynomial import Chebyshev, Polynomial

from toolchain.converters.tflite.layout import (
    NodeLayout,
    Perm,
    elementwise,
    is_constant,
    plain_perm,
    rank_of,
)
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.expression import Expression, input_expression, parameter
from toolchain.converters.tflite.program import Op, Tensor

# Beyond it 1 - tanh(softplus(x)) is below the resolution of float32.
MISH_SATURATION = 20.0
SELU_ALPHA, SELU_GAMMA = 1.6732632423543772, 1.0507009873554805
PRELU_AXES = 4
# 2 * atanh(s) / s as a polynomial in s * s up to 1 / 9, to the resolution of float32.
ATANH_SERIES = [
    float(coefficient)
    for coefficient in Chebyshev.interpolate(lambda t: 2 * np.arctanh(np.sqrt(t)) / np.sqrt(t), 4, [0, 1 / 9])
    .convert(kind=Polynomial)
    .coef
]


def _require_float(context: NodeContext) -> None:
    if context.dtype() != np.float32:
        raise Refused(f"{context.node.op_type} of {context.dtype().name}", "cast to float32 in the network")


def float_input(context: NodeContext) -> Expression:
    """The first input, with no more axes than runtimes take."""
    _require_float(context)
    x = input_expression(context)
    shape = x.tensor.shape
    return x if len(shape) <= steps.MOST_AXES else x.reshape((prod(shape),))


@lowers("Relu", layout=elementwise)
def relu(context: NodeContext) -> None:
    """Relu; of integers the MAXIMUM with 0, since RELU takes them for quantized numbers."""
    if context.dtype() == np.float32:
        float_input(context).relu().store()
    else:
        input_expression(context).maximum(0).store()


@lowers("Clip", layout=elementwise)
def clip(context: NodeContext) -> None:
    """Clip: RELU6 and the like where the bounds are theirs, else MAXIMUM and MINIMUM."""
    low, high = _bound(context, 1, -np.inf), _bound(context, 2, np.inf)
    known = {(0.0, 6.0): Op.RELU6, (-1.0, 1.0): Op.RELU_N1_TO_1, (0.0, None): Op.RELU}
    if context.dtype() == np.float32 and not isinstance(low, Expression) and not isinstance(high, Expression):
        code = known.get((low, high))  # type: ignore[arg-type]
        if code is not None:
            float_input(context).unary(code).store()
            return
    x = input_expression(context)
    if low is not None:
        x = x.maximum(low)
    if high is not None:
        x = x.minimum(high)
    x.store()


def _bound(context: NodeContext, index: int, unlimited: float) -> Expression | float | None:
    """A bound of Clip: a number, a tensor computed at run time, or None where there is none."""
    if not context.given(index):
        return None
    if not is_constant(context.onnx(index)):
        return input_expression(context, index).reshape(())
    bound = context.constant(index, "the bound").item()
    return None if bound == unlimited else bound


@lowers("LeakyRelu", layout=elementwise)
def leaky_relu(context: NodeContext) -> None:
    """LeakyRelu."""
    options = schema.LeakyReluOptionsT()
    options.alpha = context.float("alpha", 0.01)
    float_input(context).unary(Op.LEAKY_RELU, options).store()


@lowers("PRelu", layout=elementwise)
def prelu(context: NodeContext) -> None:
    """PRelu: PRELU, or where that does not do max(x, 0) + slope * min(x, 0)."""
    x, rank, sizes = input_expression(context), len(context.perm), context.shape(1)
    pairs = zip(reversed(sizes), reversed(context.shape()), strict=False)
    if len(sizes) > rank or any(size not in (1, whole) for size, whole in pairs):
        raise Refused(
            f"a slope of shape {sizes} does not broadcast to the input's {context.shape()}",
            "give the slope of C channels the shape (C, 1, 1), and expand an input that is smaller than it",
        )
    slope = parameter(context, 1, range(rank - len(sizes), rank), context.perm).tensor
    if slope.data is not None and context.dtype() == np.float32 and 1 <= rank <= PRELU_AXES:
        # XNNPACK reads one slope for each channel, whatever the shape says.
        whole = np.broadcast_to(slope.data, (*slope.shape[:-1], x.tensor.shape[-1]))
        y = steps.emit(context, Op.PRELU, [x.tensor, context.const(whole, "slope")], x.tensor.shape)
        steps.store(context, y)
        return
    (x.minimum(0) * Expression(context, slope) + x.maximum(0)).store()


@lowers("Sigmoid", layout=elementwise)
def sigmoid(context: NodeContext) -> None:
    """Sigmoid."""
    float_input(context).unary(Op.LOGISTIC).store()


@lowers("Tanh", layout=elementwise)
def tanh(context: NodeContext) -> None:
    """Tanh."""
    float_input(context).unary(Op.TANH).store()


@lowers("HardSwish", layout=elementwise)
def hard_swish(context: NodeContext) -> None:
    """HardSwish."""
    float_input(context).unary(Op.HARD_SWISH).store()


@lowers("Elu", layout=elementwise)
def elu(context: NodeContext) -> None:
    """Elu."""
    alpha = context.float("alpha", 1.0)
    if alpha == 1:
        float_input(context).unary(Op.ELU).store()
    else:
        _scaled_elu(context, alpha, 1.0, 1.0)


@lowers("Celu", layout=elementwise)
def celu(context: NodeContext) -> None:
    """Celu: max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)."""
    alpha = context.float("alpha", 1.0)
    if alpha <= 0:
        raise Refused(f"alpha={alpha}", "use a positive alpha")
    _scaled_elu(context, alpha, 1 / alpha, 1.0)


@lowers("Selu", layout=elementwise)
def selu(context: NodeContext) -> None:
    """Selu: gamma * (max(x, 0) + min(alpha * (exp(x) - 1), 0))."""
    _scaled_elu(context, context.float("alpha", SELU_ALPHA), 1.0, context.float("gamma", SELU_GAMMA))


def _scaled_elu(context: NodeContext, alpha: float, inner: float, outer: float) -> None:
    """Outer * (max(x, 0) + alpha * elu(min(x, 0) * inner))."""
    x = float_input(context)
    negative = x.minimum(0)
    if inner != 1:
        negative = negative * inner
    negative = negative.unary(Op.ELU) * (alpha * outer)
    positive = x.relu() if outer == 1 else x.relu() * outer
    (positive + negative).store()


@lowers("ThresholdedRelu", layout=elementwise)
def thresholded_relu(context: NodeContext) -> None:
    """ThresholdedRelu: x where it is above alpha, else 0."""
    x = float_input(context)
    x.where(x > context.float("alpha", 1.0), 0).store()


@lowers("Shrink", layout=elementwise)
def shrink(context: NodeContext) -> None:
    """Shrink: hard (bias 0), or soft (bias equal to lambd): max(x - lambd, 0) + min(x + lambd, 0)."""
    lambd, bias = context.float("lambd", 0.5), context.float("bias", 0.0)
    if lambd < 0 or bias not in (0, lambd):
        raise Refused(f"bias={bias} with lambd={lambd}", "use bias=0, or bias=lambd, which is not negative")
    x = float_input(context)
    if bias == 0:
        x.where(x.magnitude() > lambd, 0).store()
    else:
        ((x - lambd).maximum(0) + (x + lambd).minimum(0)).store()


@lowers("HardSigmoid", layout=elementwise)
def hard_sigmoid(context: NodeContext) -> None:
    """HardSigmoid: clip(alpha * x + beta, 0, 1); the lower bound is fused into the addition later."""
    line = float_input(context) * context.float("alpha", 0.2) + context.float("beta", 0.5)
    line.relu().minimum(1).store()


@lowers("Softplus", layout=elementwise)
def softplus(context: NodeContext) -> None:
    """Softplus: max(x, 0) + log(1 + exp(-|x|)), which overflows for no x."""
    x = float_input(context)
    (x.relu() + log_of_one_more((x.magnitude() * -1).exp())).store()


def log_of_one_more(u: Expression) -> Expression:
    """log(1 + u) for u from 0 to 1 with all its digits: 2 * atanh(s), where s = u / (u + 2) is at most 1 / 3.

    A logarithm near 1 loses the digits of a small u, and XNNPACK's half of them even for the rounded sum.
    """
    s = u / (u + 2)
    t = s * s
    series = t * ATANH_SERIES[-1]
    for coefficient in ATANH_SERIES[-2:0:-1]:
        series = (series + coefficient) * t
    return s * (series + ATANH_SERIES[0])


@lowers("Softsign", layout=elementwise)
def softsign(context: NodeContext) -> None:
    """Softsign: x / (1 + |x|)."""
    x = float_input(context)
    (x / (x.magnitude() + 1)).store()


@lowers("Swish", layout=elementwise)
def swish(context: NodeContext) -> None:
    """Swish: x * sigmoid(alpha * x)."""
    x, alpha = float_input(context), context.float("alpha", 1.0)
    (x * (x if alpha == 1 else x * alpha).unary(Op.LOGISTIC)).store()


@lowers("Gelu", layout=elementwise)
def gelu(context: NodeContext) -> None:
    """Gelu, with erf or its approximation by tanh."""
    approximate = context.string("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise Refused(f"approximate='{approximate}'", "use approximate='none' or 'tanh'")
    options = schema.GeluOptionsT()
    options.approximate = approximate == "tanh"
    float_input(context).unary(Op.GELU, options).store()


@lowers("Mish", layout=elementwise)
def mish(context: NodeContext) -> None:
    """Mish: x * tanh(softplus(x)) = x * n / (n + 2), where n = e * (e + 2) and e = exp(x)."""
    x = float_input(context)
    power = x.minimum(MISH_SATURATION).exp()
    n = power * (power + 2)
    (x * (n / (n + 2))).store()


def _axis(node: ir.Node) -> int:
    """The axis of a softmax as a non-negative number."""
    attribute = node.attributes.get("axis")
    return (-1 if attribute is None else attribute.as_int()) % max(rank_of(node.inputs[0]), 1)


def normalized_last(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """The axis of a softmax is stored last."""
    rank, axis = rank_of(node.inputs[0]), _axis(node)
    perm = plain_perm(rank) if is_constant(node.inputs[0]) else perms[0]
    if rank and perm[-1] != axis:
        perm = (*(other for other in perm if other != axis), axis)
    return NodeLayout((perm,), (perm,))


def _rows(context: NodeContext) -> Tensor:
    """The first input as (rows, elements of the axis)."""
    x = context.input()
    return x if len(x.shape) == 2 else context.reshape(x, (prod(x.shape[:-1]), x.shape[-1]), "rows")


def _softmax_like(context: NodeContext, code: int, options: object) -> None:
    """Emit an operator that works on the last axis of up to four."""
    _require_softmax(context)
    if len(context.perm) <= 4:
        context.emit(code, [context.input()], context.output(), options)
        return
    x = _rows(context)
    y = context.emit(code, [x], context.temp(x.shape, x.dtype, "normalized"), options)
    context.reshape_to_output(y)


def _require_softmax(context: NodeContext) -> None:
    _require_float(context)
    if not context.shape() or 0 in context.shape():
        raise Refused(
            f"{context.node.op_type} of shape {list(context.shape())}",
            "give it an axis, and each axis one element",
        )


@lowers("Softmax", layout=normalized_last)
def softmax(context: NodeContext) -> None:
    """Softmax over the axis that is stored last."""
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    _softmax_like(context, Op.SOFTMAX, options)


@lowers("LogSoftmax", layout=normalized_last)
def log_softmax(context: NodeContext) -> None:
    """LogSoftmax over the axis that is stored last."""
    _softmax_like(context, Op.LOG_SOFTMAX, schema.LogSoftmaxOptionsT())


@lowers("Hardmax", layout=normalized_last)
def hardmax(context: NodeContext) -> None:
    """Hardmax: ONE_HOT of ARG_MAX, the first of equal maxima."""
    _require_softmax(context)
    x = _rows(context)
    arg_max, one_hot = schema.ArgMaxOptionsT(), schema.OneHotOptionsT()
    arg_max.outputType, one_hot.axis = schema.TensorType.INT32, -1
    axis, depth = (steps.number(context, value, np.int32) for value in (1, x.shape[1]))
    on, off = (steps.number(context, value, np.float32) for value in (1, 0))
    places = steps.emit(context, Op.ARG_MAX, [x, axis], x.shape[:1], np.int32, arg_max)
    y = steps.emit(context, Op.ONE_HOT, [places, depth, on, off], x.shape, np.float32, one_hot)
    context.reshape_to_output(y)
