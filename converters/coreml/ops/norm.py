"""Normalization: Core ML's own operators wherever they fit, which also stay sound in float16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.node_view import Refused

# The definition of MeanVarianceNormalization adds it to the standard deviation.
MVN_EPSILON = 1e-9
# A neural network's file cannot tell 0 from the default, which is this.
LEAST_EPSILON = 1e-5
SMALLEST = np.finfo(np.float32).tiny
BATCH_NORM_AXES = (3, 4, 5)
INSTANCE_NORM_AXES = (3, 4)
LRN_AXES = (3, 4)


def _input(context: NodeContext, least: int = 1) -> Var:
    """The first input: floats of at least that many axes."""
    shape = context.shape()
    if not context.is_float():
        raise Refused(
            f"{context.node.op_type} of {context.computed_dtype()}", "cast to float32 in the network"
        )
    if len(shape) < least:
        raise Refused(f"{context.node.op_type} of shape {list(shape)}", f"give it at least {least} axes")
    return context.input()


def _epsilon(context: NodeContext) -> np.float32:
    return np.float32(context.float("epsilon", 1e-5))


def _along(values: Var | np.ndarray, rank: int) -> Var | np.ndarray:
    """A vector with one element per channel as (1, C, 1, ...)."""
    shape = (1, -1, *[1] * (rank - 2))
    return values.reshape(shape) if isinstance(values, np.ndarray) else mb.reshape(x=values, shape=shape)


def _parameter(context: NodeContext, index: int) -> Var | np.ndarray:
    """A constant's value, or the variable of what is computed at run time."""
    return context.constant(index, "it") if context.is_constant(index) else context.input(index)


def _scaled(x: Var, scale: Var | np.ndarray, offset: Var | np.ndarray) -> Var:
    """The tensor times the scale of each channel plus its offset, each of shape (C,)."""
    rank = len(x.shape)
    if isinstance(scale, np.ndarray) and isinstance(offset, np.ndarray) and rank in BATCH_NORM_AXES:
        mean, variance = np.zeros_like(scale), np.full_like(scale, 1 - LEAST_EPSILON)
        return mb.batch_norm(
            x=x, mean=mean, variance=variance, gamma=scale, beta=offset, epsilon=np.float32(LEAST_EPSILON)
        )
    return mb.add(x=mb.mul(x=x, y=_along(scale, rank)), y=_along(offset, rank))


@lowers("BatchNormalization")
def batch_normalization(context: NodeContext) -> None:
    """BatchNormalization whose parameters come at run time: cleaning the graph folds constant ones."""
    x = _input(context, 2)
    inverse = mb.rsqrt(x=context.input(4), epsilon=_epsilon(context))
    factor = mb.mul(x=inverse, y=context.input(1))
    offset = mb.sub(x=context.input(2), y=mb.mul(x=context.input(3), y=factor))
    context.store(_scaled(x, factor, offset))


@lowers("InstanceNormalization")
def instance_normalization(context: NodeContext) -> None:
    """InstanceNormalization: over the spatial axes of each channel of each sample."""
    x, shape = _input(context, 3), context.shape()
    flat = len(shape) not in INSTANCE_NORM_AXES
    if flat:
        x = mb.reshape(x=x, shape=(*shape[:2], prod(shape[2:-1]), shape[-1]))
    if context.is_constant(1) and context.is_constant(2):
        named = {"gamma": context.constant(1, "scale"), "beta": context.constant(2, "bias")}
        y = mb.instance_norm(x=x, epsilon=_epsilon(context), **named)
    else:
        y = mb.instance_norm(x=x, epsilon=_epsilon(context))
        y = _scaled(y, _parameter(context, 1), _parameter(context, 2))
    context.store(mb.reshape(x=y, shape=shape) if flat else y)


@lowers("GroupNormalization")
def group_normalization(context: NodeContext) -> None:
    """GroupNormalization; scale and bias per group (opset 18) or per channel (opset 21).

    A group's channels lie one below the other in one picture, which `instance_norm` normalizes.
    """
    x, groups = _input(context, 2), context.int("num_groups", 1)
    shape = context.shape()
    if groups < 1 or shape[1] % groups:
        raise Refused(f"num_groups={groups} with {shape[1]} channels", "use a divisor of the channels")
    columns = shape[-1] if len(shape) > 2 else 1
    pictures = (shape[0], groups, prod(shape[1:]) // groups // columns, columns)
    y = mb.instance_norm(x=mb.reshape(x=x, shape=pictures), epsilon=_epsilon(context))
    y = mb.reshape(x=y, shape=shape)
    context.store(_scaled(y, *(_per_channel(context, index, shape[1]) for index in (1, 2))))


def _per_channel(context: NodeContext, index: int, channels: int) -> Var | np.ndarray:
    """A parameter per group or per channel as one element per channel."""
    size = context.shape(index)[0]
    values, repeats = _parameter(context, index), channels // size
    if size * repeats != channels:
        raise Refused(f"{size} parameters for {channels} channels", "check the file with onnx.checker")
    if isinstance(values, np.ndarray):
        return np.repeat(values, repeats)
    if repeats == 1:
        return values
    return mb.gather(x=values, indices=np.repeat(np.arange(size, dtype=np.int32), repeats), axis=0)


@lowers("LayerNormalization")
def layer_normalization(context: NodeContext) -> None:
    """LayerNormalization over all axes from `axis` on."""
    x, shape = _input(context), context.shape()
    axes = list(range(context.int("axis", -1) % len(shape), len(shape)))
    if context.is_used(1) or context.is_used(2):
        _store_statistics(context, x, axes)
    given = [index for index in (1, 2) if context.given(index)]
    if all(context.is_constant(index) for index in given):
        named = {"gamma": _trailing(context, 1, axes)}
        if context.given(2):
            named["beta"] = _trailing(context, 2, axes)
        if all(values is not None for values in named.values()):
            context.store(mb.layer_norm(x=x, axes=axes, epsilon=_epsilon(context), **named))
            return
    y = mb.layer_norm(x=x, axes=axes, epsilon=_epsilon(context))
    y = mb.mul(x=y, y=_operand(context, 1))
    context.store(mb.add(x=y, y=_operand(context, 2)) if context.given(2) else y)


def _store_statistics(context: NodeContext, x: Var, axes: Sequence[int]) -> None:
    """The outputs Mean and InvStdDev."""
    mean = mb.reduce_mean(x=x, axes=axes, keep_dims=True)
    if context.is_used(1):
        context.store(mean, 1)
    if context.is_used(2):
        variance = mb.reduce_mean(x=mb.square(x=mb.sub(x=x, y=mean)), axes=axes, keep_dims=True)
        context.store(mb.rsqrt(x=variance, epsilon=_epsilon(context)), 2)


def _trailing(context: NodeContext, index: int, axes: Sequence[int]) -> np.ndarray | None:
    """A constant parameter in the shape of the normalized axes; None where it varies along other axes."""
    values = context.constant(index, "a parameter")
    _check_parameter(context, index)
    normalized = tuple(context.shape()[axis] for axis in axes)
    while values.ndim > len(normalized) and values.shape[0] == 1:
        values = values[0]
    if values.ndim > len(normalized):
        return None
    return np.ascontiguousarray(np.broadcast_to(values, normalized))


def _check_parameter(context: NodeContext, index: int) -> None:
    own, shape = context.shape(index), context.shape()
    if len(own) > len(shape) or np.broadcast_shapes(own, shape) != shape:
        raise Refused(
            f"a parameter of shape {list(own)} for an input {list(shape)}",
            "give scale and bias the shape of the normalized axes",
        )


def _operand(context: NodeContext, index: int) -> Var:
    _check_parameter(context, index)
    return context.input(index)


@lowers("RMSNormalization")
def rms_normalization(context: NodeContext) -> None:
    """RMSNormalization over all axes from `axis` on.

    x and -x side by side have the mean 0 and the variance mean(x^2), so that `layer_norm` does it without
    squares that float16 cannot hold.
    """
    x, shape = _input(context), context.shape()
    axes = list(range(context.int("axis", -1) % len(shape), len(shape)))
    both = mb.concat(values=[x, mb.mul(x=x, y=np.float32(-1))], axis=len(shape) - 1)
    y = mb.layer_norm(x=both, axes=axes, epsilon=_epsilon(context))
    y = mb.slice_by_index(x=y, begin=[0] * len(shape), end=shape)
    context.store(mb.mul(x=y, y=_operand(context, 1)))


@lowers("MeanVarianceNormalization")
def mean_variance_normalization(context: NodeContext) -> None:
    """MeanVarianceNormalization over any axes."""
    x, rank = _input(context), len(context.shape())
    axes = sorted(axis % rank for axis in context.ints("axes", (0, 2, 3)))
    difference = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=axes, keep_dims=True))
    deviation = mb.sqrt(x=mb.reduce_mean(x=mb.square(x=difference), axes=axes, keep_dims=True))
    context.store(mb.real_div(x=difference, y=mb.add(x=deviation, y=np.float32(MVN_EPSILON))))


@lowers("LpNormalization")
def lp_normalization(context: NodeContext) -> None:
    """LpNormalization with p of 1 or 2; vectors of zeros stay."""
    p = context.int("p", 2)
    norms: dict[int, Callable[..., Var]] = {1: mb.reduce_l1_norm, 2: mb.reduce_l2_norm}
    if p not in norms:
        raise Refused(f"p={p}", "use p=1 or p=2")
    x = _input(context)
    norm = norms[p](x=x, axes=[context.int("axis", -1) % len(context.shape())], keep_dims=True)
    context.store(mb.real_div(x=x, y=mb.maximum(x=norm, y=SMALLEST)))


@lowers("LRN")
def local_response_normalization(context: NodeContext) -> None:
    """LRN across an odd number of channels."""
    x, size = _input(context), context.int("size", 1)
    if len(context.shape()) not in LRN_AXES:
        raise Refused(f"LRN of {len(context.shape())} axes", "reshape the input to (N, C, H, W)")
    if size % 2 == 0:
        raise Refused(f"size={size} is even, so that the window is not centred", "use an odd size")
    alpha, beta, k = (
        np.float32(context.float(name, default))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    context.store(mb.local_response_norm(x=x, size=size, alpha=alpha, beta=beta, k=k))
