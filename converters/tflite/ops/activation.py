"""Activations: element by element, and the softmax family."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema
from toolchain.converters.tflite.layout import (
    NodeLayout,
    Perm,
    elementwise,
    is_constant,
    plain_perm,
    rank_of,
    shape_of,
)
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops.expression import Expression, input_expression, parameter
from toolchain.converters.tflite.program import Op, Tensor

MIN_MAX_TYPES = ("float32", "int8", "uint8", "int16", "int32", "int64")
# Beyond it 1 - tanh(softplus(x)) is below the resolution of float32.
MISH_SATURATION = 20.0
SELU_ALPHA, SELU_GAMMA = 1.6732632423543772, 1.0507009873554805


def _require_types(context: NodeContext, names: Sequence[str] = ("float32",)) -> None:
    if context.dtype().name not in names:
        raise Refused(f"{context.node.op_type} of {context.dtype().name}", "cast to float32 in the network")


@lowers("Relu", layout=elementwise)
def relu(context: NodeContext) -> None:
    """Relu; of integers the MAXIMUM with 0, since RELU takes them for quantized numbers."""
    _require_types(context, MIN_MAX_TYPES)
    if context.dtype() == np.float32:
        context.emit(Op.RELU, [context.input()], context.output())
    else:
        input_expression(context).maximum(0).store()


@lowers("Clip", layout=elementwise)
def clip(context: NodeContext) -> None:
    """Clip: RELU6 and the like where the bounds are theirs, else MAXIMUM and MINIMUM."""
    _require_types(context, MIN_MAX_TYPES)
    x = input_expression(context)
    low, high = (_bound(context, *which) for which in ((1, "min"), (2, "max")))
    known = {(0.0, 6.0): Op.RELU6, (-1.0, 1.0): Op.RELU_N1_TO_1, (0.0, None): Op.RELU}
    code = None if isinstance(low, Expression) or isinstance(high, Expression) else known.get((low, high))  # type: ignore[arg-type]
    if code is not None and context.dtype() == np.float32:
        context.emit(code, [x.tensor], context.output())
        return
    if low is None and high is None:
        context.alias(x.tensor)
        return
    if low is not None:
        x = x.maximum(low)
    if high is not None:
        x = x.minimum(high)
    x.store()


def _bound(context: NodeContext, index: int, name: str) -> Expression | float | None:
    """A bound of Clip: a number, a tensor computed at run time, or None where there is none."""
    if not context.given(index):
        # Attributes up to opset 10.
        attribute = context.node.attributes.get(name)
        return None if attribute is None else attribute.as_float()
    if not is_constant(context.onnx(index)):
        return Expression(context, context.reshape(context.input_as(index, plain_perm(len(context.shape(index)))), (), name))
    bound = context.constant(index, name).item()
    return None if isinstance(bound, float) and np.isinf(bound) and (bound > 0) == (name == "max") else bound


@lowers("LeakyRelu", layout=elementwise)
def leaky_relu(context: NodeContext) -> None:
    """LeakyRelu."""
    options = schema.LeakyReluOptionsT()
    options.alpha = context.float("alpha", 0.01)
    context.emit(Op.LEAKY_RELU, [context.input()], context.output(), options)


@lowers("PRelu", layout=elementwise)
def prelu(context: NodeContext) -> None:
    """PRelu: PRELU, or for integers and many axes max(x, 0) + slope * min(x, 0)."""
    _require_types(context, ("float32", "int32", "int64"))
    x = input_expression(context)
    perm, rank = context.perm, len(context.perm)
    slope_rank = len(context.shape(1))
    if slope_rank > rank or any(
        size not in (1, whole) for size, whole in zip(context.shape(1)[::-1], context.shape()[::-1], strict=False)
    ):
        raise Refused("the slope has more elements than the input along an axis", "expand the input first")
    slope = parameter(context, 1, range(rank - slope_rank, rank), perm)
    if context.dtype() == np.float32 and rank <= 4:
        context.emit(Op.PRELU, [x.tensor, slope.tensor], context.output())
        return
    positive = x.maximum(0)
    (x.minimum(0) * slope + positive).store()


def _unary(context: NodeContext, code: int) -> None:
    _require_types(context)
    context.emit(code, [context.input()], context.output())


@lowers("Sigmoid", layout=elementwise)
def sigmoid(context: NodeContext) -> None:
    """Sigmoid."""
    _unary(context, Op.LOGISTIC)


@lowers("Tanh", layout=elementwise)
def tanh(context: NodeContext) -> None:
    """Tanh."""
    _unary(context, Op.TANH)


@lowers("HardSwish", layout=elementwise)
def hard_swish(context: NodeContext) -> None:
    """HardSwish."""
    _unary(context, Op.HARD_SWISH)


@lowers("Elu", layout=elementwise)
def elu(context: NodeContext) -> None:
    """Elu."""
    alpha = context.float("alpha", 1.0)
    if alpha == 1:
        _unary(context, Op.ELU)
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
    """outer * (max(x, 0) + alpha * elu(min(x, 0) * inner))."""
    x = input_expression(context)
    negative = x.minimum(0)
    if inner != 1:
        negative = negative * inner
    negative = negative.unary(Op.ELU) * (alpha * outer)
    positive = x.unary(Op.RELU)
    if outer != 1:
        positive = positive * outer
    (positive + negative).store()


@lowers("ThresholdedRelu", layout=elementwise)
def thresholded_relu(context: NodeContext) -> None:
    """ThresholdedRelu: x where it is above alpha, else 0."""
    x = context.input()
    # The comparison and the selection broadcast over few axes only.
    flat = x if len(x.shape) <= 4 else context.reshape(x, (prod(x.shape),), "flat")
    alpha = context.const(np.float32(context.float("alpha", 1.0)), "alpha")
    above = context.temp(flat.shape, np.dtype(bool), "above")
    context.emit(Op.GREATER, [flat, alpha], above, schema.GreaterOptionsT())
    y = context.output() if flat is x else context.temp(flat.shape, x.dtype, "chosen")
    zero = context.const(np.float32(0), "zero")
    context.emit(Op.SELECT_V2, [above, flat, zero], y, schema.SelectV2OptionsT())
    if flat is not x:
        context.reshape_to_output(y)


@lowers("HardSigmoid", layout=elementwise)
def hard_sigmoid(context: NodeContext) -> None:
    """HardSigmoid: clip(alpha * x + beta, 0, 1); the lower bound is fused into the addition later."""
    x = input_expression(context)
    line = x * context.float("alpha", 0.2) + context.float("beta", 0.5)
    line.unary(Op.RELU).minimum(1).store()


@lowers("Softplus", layout=elementwise)
def softplus(context: NodeContext) -> None:
    """Softplus: max(x, 0) + log(1 + exp(-|x|)), which overflows for no x."""
    x = input_expression(context)
    positive = x.unary(Op.RELU)
    ((x.unary(Op.ABS, schema.AbsOptionsT()) * -1).unary(Op.EXP, schema.ExpOptionsT()) + 1).unary(Op.LOG)
