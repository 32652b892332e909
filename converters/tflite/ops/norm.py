"""Normalization, written out as means and arithmetic, for which every runtime has fast kernels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.tflite.layout import along_axes, is_constant, spatial
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops.expression import Expression, input_expression, parameter
from toolchain.converters.tflite.ops.window import used_output
from toolchain.converters.tflite.program import Op

# The definition of MeanVarianceNormalization adds it to the standard deviation.
MVN_EPSILON = 1e-9
SMALLEST = float(np.finfo(np.float32).tiny)


def _input(context: NodeContext, least: int = 1) -> Expression:
    """The first input: floats with elements, of at least that many axes."""
    shape = context.shape()
    if context.dtype() != np.float32:
        raise Refused(f"{context.node.op_type} of {context.dtype().name}", "cast to float32 in the network")
    if 0 in shape or len(shape) < least:
        raise Refused(
            f"{context.node.op_type} of shape {list(shape)}",
            f"give it at least {least} axes, and each axis one element",
        )
    return input_expression(context)


def _stored(context: NodeContext, axes: Sequence[int]) -> list[int]:
    """Where ONNX axes are stored."""
    return sorted(context.axis(axis) for axis in axes)


def _inverse_deviation(difference: Expression, axes: Sequence[int], epsilon: float) -> Expression:
    """1 / sqrt(variance + epsilon) from the differences to the mean."""
    return ((difference * difference).mean(axes) + epsilon).unary(Op.RSQRT)


@lowers("BatchNormalization", layout=along_axes)
def batch_normalization(context: NodeContext) -> None:
    """BatchNormalization in inference: one multiplication and one addition per channel."""
    if context.int("training_mode", 0) or any(used_output(context, i) for i in range(1, 5)):
        raise Refused("training_mode=1", "export the network in evaluation mode (net.eval())")
    x, epsilon = _input(context, 2), context.float("epsilon", 1e-5)
    perm = context.perm
    if all(is_constant(context.onnx(index)) for index in range(1, 5)):
        scale, bias, mean, variance = (
            context.constant(index, "a parameter").astype(np.float64) for index in range(1, 5)
        )
        factor = scale / np.sqrt(variance + epsilon)
        along = [1] * len(perm)
        along[context.axis(1)] = len(factor)
        factors, offsets = (
            Expression(context, context.const(values.astype(np.float32).reshape(along), name))
            for values, name in ((factor, "factor"), (bias - mean * factor, "offset"))
        )
    else:
        inverse = (parameter(context, 4, [1], perm) + epsilon).unary(Op.RSQRT)
        factors = inverse * parameter(context, 1, [1], perm)
        offsets = parameter(context, 2, [1], perm) - parameter(context, 3, [1], perm) * factors
    (x * factors + offsets).store()


@lowers("InstanceNormalization", layout=along_axes)
def instance_normalization(context: NodeContext) -> None:
    """InstanceNormalization: over the spatial axes of each channel of each sample."""
    x, perm = _input(context, 3), context.perm
    axes = _stored(context, range(2, len(perm)))
    difference = x - x.mean(axes)
    inverse = _inverse_deviation(difference, axes, context.float("epsilon", 1e-5))
    factor = inverse * parameter(context, 1, [1], perm)
    (difference * factor + parameter(context, 2, [1], perm)).store()


@lowers("LayerNormalization", layout=along_axes)
def layer_normalization(context: NodeContext) -> None:
    """LayerNormalization over all axes from `axis` on."""
    x, perm = _input(context), context.perm
    rank = len(perm)
    first = context.int("axis", -1) % rank
    axes = _stored(context, range(first, rank))
    mean = x.mean(axes)
    if used_output(context, 1):
        mean.store(1)
    difference = x - mean
    inverse = _inverse_deviation(difference, axes, context.float("epsilon", 1e-5))
    if used_output(context, 2):
        inverse.store(2)
    y = difference * inverse * _trailing(context, 1)
    if context.given(2):
        y = y + _trailing(context, 2)
    y.store()


def _trailing(context: NodeContext, index: int) -> Expression:
    """A parameter that belongs to the last axes of the input."""
    rank, own = len(context.perm), len(context.shape(index))
    if own > rank or np.broadcast_shapes(context.shape(index), context.shape()) != context.shape():
        raise Refused(
            f"a parameter of shape {list(context.shape(index))} for an input {list(context.shape())}",
            "give scale and bias the shape of the normalized axes",
        )
    return parameter(context, index, range(rank - own, rank), context.perm)


@lowers("RMSNormalization", layout=along_axes)
def rms_normalization(context: NodeContext) -> None:
    """RMSNormalization over all axes from `axis` on."""
    x, rank = _input(context), len(context.perm)
    axes = _stored(context, range(context.int("axis", -1) % rank, rank))
    inverse = _inverse_deviation(x, axes, context.float("epsilon", 1e-5))
    (x * inverse * _trailing(context, 1)).store()


@lowers("GroupNormalization", layout=spatial)
def group_normalization(context: NodeContext) -> None:
    """GroupNormalization; scale and bias per group (opset 18) or per channel (opset 21)."""
    x, groups = _input(context, 2), context.int("num_groups", 1)
    samples, channels = context.shape()[:2]
    if groups < 1 or channels % groups:
        raise Refused(f"num_groups={groups} with {channels} channels", "use a divisor of the channels")
    view = x.reshape((samples, prod(context.shape()[2:]), groups, channels // groups))
    difference = view - view.mean([1, 3])
    factor = _inverse_deviation(difference, [1, 3], context.float("epsilon", 1e-5))
    scale, bias = (_per_group(context, index, groups) for index in (1, 2))
    (difference * (factor * scale) + bias).store()


def _per_group(context: NodeContext, index: int, groups: int) -> Expression:
    """A parameter per group or per channel as (1, 1, groups, 1 or channels of a group)."""
    size = context.shape(index)[0]
    if size % groups:
        raise Refused(f"{size} parameters for num_groups={groups}", "check the file with onnx.checker")
    shape = (1, 1, groups, size // groups)
    value = context.onnx(index)
    if is_constant(value):
        return Expression(context, context.const(context.constant(index, "it").reshape(shape), "parameter"))
    return input_expression(context, index).reshape(shape)


@lowers("MeanVarianceNormalization", layout=along_axes)
def mean_variance_normalization(context: NodeContext) -> None:
    """MeanVarianceNormalization over any axes."""
    x = _input(context)
    axes = _stored(context, context.ints("axes", (0, 2, 3)))
    difference = x - x.mean(axes)
    deviation = (difference * difference).mean(axes).unary(Op.SQRT)
    (difference / (deviation + MVN_EPSILON)).store()


@lowers("LpNormalization", layout=along_axes)
def lp_normalization(context: NodeContext) -> None:
    """LpNormalization with p of 1 or 2; vectors of zeros stay."""
    p = context.int("p", 2)
    if p not in (1, 2):
        raise Refused(f"p={p}", "use p=1 or p=2")
    x = _input(context)
    axes = _stored(context, [context.int("axis", -1)])
    norm = x.magnitude().sum(axes) if p == 1 else (x * x).sum(axes).unary(Op.SQRT)
    (x / norm.maximum(SMALLEST)).store()


@lowers("LRN", layout=spatial)
def local_response_normalization(context: NodeContext) -> None:
    """LRN across an odd number of channels."""
    x, size = _input(context).tensor, context.int("size", 1)
    if len(x.shape) != 4:
        raise Refused(f"LRN of {len(x.shape)} axes", "reshape the input to (N, C, H, W)")
    if size % 2 == 0:
        raise Refused(f"size={size} is even, so that the window is not centred", "use an odd size")
    options = schema.LocalResponseNormalizationOptionsT()
    options.radius, options.bias = size // 2, context.float("bias", 1.0)
    options.alpha, options.beta = context.float("alpha", 1e-4) / size, context.float("beta", 0.75)
    context.emit(Op.LOCAL_RESPONSE_NORMALIZATION, [x], context.output(), options)
