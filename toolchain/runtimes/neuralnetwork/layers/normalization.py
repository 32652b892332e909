"""Normalizations and softmax."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import axis_of, need_rank, per_picture
from toolchain.runtimes.neuralnetwork.weights import decoded

BATCHNORM_EPSILON = 1e-5
DEFAULT_EPSILON = 1e-6
PICTURE = (-3, -2, -1)


@computes("batchnorm")
def batchnorm(p: Any) -> Kernel:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta per channel.

    With computeMeanVar the statistics are those of each picture (instanceNormalization) or of the batch.
    """
    shape = (int(p.channels),)
    gamma, beta = decoded(p.gamma, shape), decoded(p.beta, shape)
    epsilon = p.epsilon or BATCHNORM_EPSILON
    if p.computeMeanVar:
        axes = (-2, -1) if p.instanceNormalization else (0, -2, -1)

        def normalized(x: torch.Tensor) -> torch.Tensor:
            variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
            return (x - mean) / (variance + epsilon).sqrt() * gamma[:, None, None] + beta[:, None, None]

        return per_picture(normalized)
    if p.instanceNormalization:
        raise UnsupportedError("instanceNormalization without computeMeanVar")
    mean, variance = decoded(p.mean, shape), decoded(p.variance, shape)
    return per_picture(lambda x: F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon))


@computes("mvn")
def mean_variance_normalize(p: Any) -> Kernel:
    """x minus its mean, divided by sqrt(variance + epsilon), per channel or across channels."""
    axes = PICTURE if p.acrossChannels else (-2, -1)
    epsilon = p.epsilon or DEFAULT_EPSILON

    def run(x: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(need_rank(x, 3), axes, correction=0, keepdim=True)
        centred = x - mean
        return centred / (variance + epsilon).sqrt() if p.normalizeVariance else centred

    return run


@computes("l2normalize")
def l2_normalize(p: Any) -> Kernel:
    """x / sqrt(sum(x^2) + epsilon) over channel, height and width."""
    epsilon = p.epsilon or DEFAULT_EPSILON
    return lambda x: x / (need_rank(x, 3).square().sum(PICTURE, keepdim=True) + epsilon).sqrt()


@computes("lrn")
def local_response_normalization(p: Any) -> Kernel:
    """x / (k + alpha / n * sum of x^2 over n channels)^beta."""
    size, k = int(p.localSize), p.k or 1.0
    if size % 2 == 0:
        raise UnsupportedError(f"a window of {size} channels has no centre")
    return per_picture(lambda x: F.local_response_norm(x, size, p.alpha, p.beta, k))


@computes("softmax")
def softmax(p: Any) -> Kernel:
    """Softmax along the channels, axis -3."""
    return lambda x: torch.softmax(need_rank(x, 3), -3)


@computes("softmaxND")
def softmax_nd(p: Any) -> Kernel:
    """Softmax along any axis."""
    return lambda x: torch.softmax(x, axis_of(p.axis, x.ndim))


@computes("layerNormalization")
def layer_normalization(p: Any) -> Kernel:
    """gamma * (x - mean) / sqrt(variance + eps) + beta over the last axes, those of normalizedShape."""
    shape = tuple(int(size) for size in p.normalizedShape)
    gamma, beta = decoded(p.gamma, shape), decoded(p.beta, shape)
    return lambda x: F.layer_norm(x, shape, gamma, beta, p.eps)
