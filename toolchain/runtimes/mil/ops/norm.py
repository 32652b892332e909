"""Normalization."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import ints, number

L2_AXES = (-3, -2, -1)


@computes("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    """Return (x - mean) / sqrt(variance + epsilon) * gamma + beta, per channel on axis 1."""
    return functional.batch_norm(x, mean, variance, gamma, beta, eps=number(epsilon))


@computes("instance_norm")
def instance_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: Tensor | float = 1e-5
) -> Tensor:
    """Return batch_norm with mean and variance of each picture's channel."""
    # torch's own instance_norm computes x * scale + shift, which cancels where the variance is small.
    return _standardized(x, list(range(2, x.ndim)), gamma, beta, epsilon, [-1, *[1] * (x.ndim - 2)])


@computes("layer_norm")
def layer_norm(
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    """Return (x - mean) / sqrt(variance + epsilon) * gamma + beta, with statistics over `axes` (None: all).

    gamma and beta have the sizes of those axes, in the order of the axes of x.
    """
    over = sorted(range(x.ndim) if axes is None else [axis % x.ndim for axis in ints(axes)])
    if over == list(range(x.ndim - len(over), x.ndim)):
        return functional.layer_norm(x, x.shape[over[0] :], gamma, beta, number(epsilon))
    sizes = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    return _standardized(x, over, gamma, beta, epsilon, sizes)


def _standardized(
    x: Tensor,
    over: list[int],
    gamma: Tensor | None,
    beta: Tensor | None,
    epsilon: Tensor | float,
    sizes: list[int],
) -> Tensor:
    """The axes brought to mean 0 and variance 1, then scaled; gamma and beta broadcast as `sizes`."""
    # torch.var_mean takes many times longer on pictures that lie channel-last.
    centered = x - x.mean(over, keepdim=True)
    scale = torch.rsqrt(centered.square().mean(over, keepdim=True) + number(epsilon))
    y = centered * (scale if gamma is None else scale * gamma.reshape(sizes))
    return y if beta is None else y + beta.reshape(sizes)


@computes("l2_norm")
def l2_norm(x: Tensor, epsilon: Tensor | float = 1e-6) -> Tensor:
    """Return x / sqrt(sum of squares + epsilon), the sum over the last three axes."""
    return x / torch.sqrt(x.square().sum(L2_AXES, keepdim=True) + number(epsilon))


@computes("local_response_norm")
def local_response_norm(
    x: Tensor,
    size: Tensor,
    alpha: Tensor | float = 1e-4,
    beta: Tensor | float = 0.75,
    k: Tensor | float = 1.0,
) -> Tensor:
    """Return x / (k + alpha / size * sum of squares of `size` neighbouring channels) ** beta."""
    count = int(number(size))
    if count % 2 == 0:
        raise UnsupportedError(f"local_response_norm: size {count}, whose middle is not defined")
    return functional.local_response_norm(x, count, number(alpha), number(beta), number(k))
