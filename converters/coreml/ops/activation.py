"""Activations: element by element, and the softmax family."""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.converters.coreml.lowering import INT32, NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.arithmetic import log, number, require_float, reshape
from toolchain.converters.node_view import Refused

LARGEST = {"f": float(np.finfo(np.float32).max), "i": INT32.max}
SELU_ALPHA, SELU_GAMMA = 1.6732632423543772, 1.0507009873554805
CHANNEL_AXIS = 1
PRELU_RANK = 4


@lowers("Relu")
def relu(context: NodeContext) -> None:
    """Relu; of integers the maximum with 0, since `relu` takes floats only."""
    x = context.input()
    context.store(mb.relu(x=x) if context.is_float() else mb.maximum(x=x, y=number(x, 0)))


@lowers("Clip")
def clip(context: NodeContext) -> None:
    """Clip: relu, relu6 or clip where both bounds are known, else maximum and minimum.

    A bound at the limit of the element type is none: older operator sets write "unlimited" so. With
    contradicting bounds the upper one wins, which `clip` does not promise.
    """
    x = context.input()
    low, high = _bound(context, 1, np.less_equal), _bound(context, 2, np.greater_equal)
    numbers = not isinstance(low, Var) and not isinstance(high, Var)
    if context.is_float() and numbers and low is not None:
        if low == 0 and high in (None, 6):
            context.store(mb.relu(x=x) if high is None else mb.relu6(x=x))
            return
        if high is not None and low < high:
            context.store(mb.clip(x=x, alpha=np.float32(low), beta=np.float32(high)))
            return
    y = x
    if low is not None:
        y = mb.maximum(x=y, y=low if isinstance(low, Var) else number(x, low))
    if high is not None:
        y = mb.minimum(x=y, y=high if isinstance(high, Var) else number(x, high))
    context.store(y)


def _bound(context: NodeContext, index: int, beyond: np.ufunc) -> Var | float | None:
    """A bound of Clip: a number, a scalar computed at run time, or None where there is none."""
    if not context.given(index):
        return None
    if not context.is_constant(index):
        return reshape(context.input(index), ())
    bound = context.constant(index, "the bound").item()
    limit = LARGEST["f" if context.is_float() else "i"]
    if beyond(bound, limit if beyond is np.greater_equal else -limit):
        return None
    if abs(bound) > limit:
        raise Refused(f"the bound {bound}", "Core ML computes with int32 only; use bounds below 2**31")
    return bound


@lowers("LeakyRelu")
def leaky_relu(context: NodeContext) -> None:
    """LeakyRelu."""
    context.store(mb.leaky_relu(x=require_float(context), alpha=np.float32(context.float("alpha", 0.01))))


@lowers("PRelu")
def prelu(context: NodeContext) -> None:
    """PRelu: prelu with one constant slope for each channel, else max(x, 0) + slope * min(x, 0)."""
    x, sizes, shape = context.input(), context.shape(1), context.shape()
    pairs = zip(reversed(sizes), reversed(shape), strict=False)
    if len(sizes) > len(shape) or any(size not in (1, whole) for size, whole in pairs):
        raise Refused(
            f"a slope of shape {sizes} does not broadcast to the input's {shape}",
            "give the slope of C channels the shape (C, 1, 1), and expand an input that is smaller than it",
        )
    padded = (1,) * (len(shape) - len(sizes)) + tuple(sizes)
    by_channel = all(size == 1 for axis, size in enumerate(padded) if axis != CHANNEL_AXIS)
    if context.is_constant(1) and context.is_float() and len(shape) == PRELU_RANK and by_channel:
        slopes = np.broadcast_to(context.constant(1, "the slope").reshape(-1), shape[CHANNEL_AXIS])
        context.store(mb.prelu(x=x, alpha=np.ascontiguousarray(slopes)))
        return
    zero = number(x, 0)
    positive = mb.relu(x=x) if context.is_float() else mb.maximum(x=x, y=zero)
    negative = mb.mul(x=mb.minimum(x=x, y=zero), y=context.input(1))
    context.store(mb.add(x=positive, y=negative))


@lowers("Sigmoid")
def sigmoid(context: NodeContext) -> None:
    """Sigmoid."""
    context.store(mb.sigmoid(x=require_float(context)))


@lowers("Tanh")
def tanh(context: NodeContext) -> None:
    """Tanh."""
    context.store(mb.tanh(x=require_float(context)))


@lowers("HardSwish")
def hard_swish(context: NodeContext) -> None:
    """HardSwish: x * clip(x / 6 + 1 / 2, 0, 1)."""
    x = require_float(context)
    gate = mb.sigmoid_hard(x=x, alpha=np.float32(1 / 6), beta=np.float32(0.5))
    context.store(mb.mul(x=x, y=gate))


@lowers("Elu")
def elu(context: NodeContext) -> None:
    """Elu."""
    context.store(mb.elu(x=require_float(context), alpha=np.float32(context.float("alpha", 1.0))))


@lowers("Celu")
def celu(context: NodeContext) -> None:
    """Celu: max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)."""
    x, alpha = require_float(context), np.float32(context.float("alpha", 1.0))
    if alpha <= 0:
        raise Refused(f"alpha={alpha}", "use a positive alpha")
    if alpha == 1:
        context.store(mb.elu(x=x, alpha=alpha))
        return
    scaled = mb.mul(x=mb.minimum(x=x, y=np.float32(0)), y=1 / alpha)
    context.store(mb.add(x=mb.relu(x=x), y=mb.elu(x=scaled, alpha=alpha)))


@lowers("Selu")
def selu(context: NodeContext) -> None:
    """Selu: gamma * elu(x)."""
    alpha, gamma = context.float("alpha", SELU_ALPHA), context.float("gamma", SELU_GAMMA)
    context.store(mb.mul(x=mb.elu(x=require_float(context), alpha=np.float32(alpha)), y=np.float32(gamma)))


@lowers("ThresholdedRelu")
def thresholded_relu(context: NodeContext) -> None:
    """ThresholdedRelu: x where it is above alpha, else 0; MIL's own keeps x where it equals alpha, too."""
    x = require_float(context)
    above = mb.greater(x=x, y=np.float32(context.float("alpha", 1.0)))
    context.store(mb.select(cond=above, a=x, b=np.float32(0)))


@lowers("Shrink")
def shrink(context: NodeContext) -> None:
    """Shrink: x + bias below -lambd, x - bias above lambd, else 0."""
    x, lambd, bias = require_float(context), context.float("lambd", 0.5), context.float("bias", 0.0)
    above, below = mb.greater(x=x, y=np.float32(lambd)), mb.less(x=x, y=np.float32(-lambd))
    smaller, larger = (mb.add(x=x, y=np.float32(step)) if bias else x for step in (-bias, bias))
    context.store(mb.select(cond=below, a=larger, b=mb.select(cond=above, a=smaller, b=np.float32(0))))


@lowers("HardSigmoid")
def hard_sigmoid(context: NodeContext) -> None:
    """HardSigmoid: clip(alpha * x + beta, 0, 1)."""
    alpha, beta = context.float("alpha", 0.2), context.float("beta", 0.5)
    context.store(mb.sigmoid_hard(x=require_float(context), alpha=np.float32(alpha), beta=np.float32(beta)))


@lowers("Softplus")
def softplus(context: NodeContext) -> None:
    """Softplus."""
    context.store(mb.softplus(x=require_float(context)))


@lowers("Softsign")
def softsign(context: NodeContext) -> None:
    """Softsign."""
    context.store(mb.softsign(x=require_float(context)))


@lowers("Swish")
def swish(context: NodeContext) -> None:
    """Swish: x * sigmoid(alpha * x)."""
    x, alpha = require_float(context), np.float32(context.float("alpha", 1.0))
    if alpha == 1:
        context.store(mb.silu(x=x))
    else:
        context.store(mb.mul(x=x, y=mb.sigmoid(x=mb.mul(x=x, y=alpha))))


@lowers("Gelu")
def gelu(context: NodeContext) -> None:
    """Gelu, with erf or its approximation by tanh."""
    approximate = context.string("approximate", "none")
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    if approximate not in modes:
        raise Refused(f"approximate='{approximate}'", "use approximate='none' or 'tanh'")
    context.store(mb.gelu(x=require_float(context), mode=modes[approximate]))


@lowers("Mish")
def mish(context: NodeContext) -> None:
    """Mish: x * tanh(softplus(x))."""
    x = require_float(context)
    context.store(mb.mul(x=x, y=mb.tanh(x=mb.softplus(x=x))))


def _normalized(context: NodeContext) -> tuple[Var, int]:
    """The input of a softmax and its axis as a non-negative number."""
    x = require_float(context)
    if not x.rank:
        raise Refused(f"{context.node.op_type} of a scalar", "give it an axis")
    return x, context.int("axis", -1) % x.rank


@lowers("Softmax")
def softmax(context: NodeContext) -> None:
    """Softmax."""
    x, axis = _normalized(context)
    context.store(mb.softmax(x=x, axis=np.int32(axis)))


@lowers("LogSoftmax")
def log_softmax(context: NodeContext) -> None:
    """LogSoftmax: s - log(sum(exp(s))) with s = x - max(x), so that nothing overflows or vanishes."""
    x, axis = _normalized(context)
    axes = np.array([axis], np.int32)
    shifted = mb.sub(x=x, y=mb.reduce_max(x=x, axes=axes, keep_dims=True))
    total = mb.reduce_sum(x=mb.exp(x=shifted), axes=axes, keep_dims=True)
    context.store(mb.sub(x=shifted, y=log(context, total)))


@lowers("Hardmax")
def hardmax(context: NodeContext) -> None:
    """Hardmax: 1 at the first maximum, else 0."""
    x, axis = _normalized(context)
    places = mb.reduce_argmax(x=x, axis=np.int32(axis), keep_dims=True)
    shape = [size if place == axis else 1 for place, size in enumerate(x.shape)]
    numbers = np.arange(prod(shape), dtype=np.int32).reshape(shape)
    context.store(mb.cast(x=mb.equal(x=places, y=numbers), dtype="fp32"))
