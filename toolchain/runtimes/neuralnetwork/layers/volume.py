"""Convolution and pooling over depth, height and width, [N, C, D, H, W]."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.borders import Amounts, padded, same_amounts, spread
from toolchain.runtimes.neuralnetwork.layers.parameters import enum_name, positive
from toolchain.runtimes.neuralnetwork.layers.pooling import window_counts
from toolchain.runtimes.neuralnetwork.weights import decoded

AXES = ("Depth", "Height", "Width")
EDGES = (("Front", "Back"), ("Top", "Bottom"), ("Left", "Right"))
VOLUME_RANK = 5


def _sizes(p: Any, what: str) -> tuple[int, ...]:
    return positive([getattr(p, f"{what}{axis}") for axis in AXES], what)


def _amounts(p: Any, sizes: Any, kernel: Any, stride: Any) -> Amounts:
    mode = enum_name(p, "paddingType")
    if mode == "SAME":
        return same_amounts(sizes, kernel, stride, at_end=True)
    if mode == "VALID":
        return [(0, 0)] * 3
    return [tuple(getattr(p, f"customPadding{edge}") for edge in edges) for edges in EDGES]


def _volume(x: torch.Tensor) -> torch.Tensor:
    if x.ndim != VOLUME_RANK:
        raise UnsupportedError(f"takes [N, C, D, H, W], got {tuple(x.shape)}")
    return x


@computes("convolution3d")
def convolution_3d(p: Any) -> Kernel:
    """y = W * x + b."""
    if p.isDeconvolution:
        raise UnsupportedError("a deconvolution in three dimensions")
    kernel, stride, dilation = (_sizes(p, what) for what in ("kernel", "stride", "dilation"))
    groups = p.nGroups or 1
    weight = decoded(p.weights, (p.outputChannels, p.inputChannels // groups, *kernel))
    bias = decoded(p.bias, (p.outputChannels,)) if p.hasBias else None

    def run(x: torch.Tensor) -> torch.Tensor:
        amounts = _amounts(p, _volume(x).shape[2:], spread(dilation, kernel), stride)
        return F.conv3d(padded(x, amounts), weight, bias, stride, 0, dilation, groups)

    return run


@computes("pooling3d")
def pooling_3d(p: Any) -> Kernel:
    """Maximum or mean of each window."""
    mode = enum_name(p, "type")
    kernel, stride = _sizes(p, "kernel"), _sizes(p, "stride")

    def run(x: torch.Tensor) -> torch.Tensor:
        sizes = _volume(x).shape[2:]
        amounts = _amounts(p, sizes, kernel, stride)
        if mode == "MAX":
            return F.max_pool3d(padded(x, amounts, -math.inf), kernel, stride)
        total = F.avg_pool3d(padded(x, amounts), kernel, stride, divisor_override=1)
        if not p.countExcludePadding:
            return total / math.prod(kernel)
        depth, rows, columns = window_counts(sizes, kernel, stride, amounts)
        return total / (depth[:, None, None] * rows[:, None] * columns)

    return run


@computes("globalPooling3d")
def global_pooling_3d(p: Any) -> Kernel:
    """Maximum or mean of the whole volume."""
    axes = (-3, -2, -1)
    if enum_name(p, "type") == "MAX":
        return lambda x: _volume(x).amax(axes, keepdim=True)
    return lambda x: _volume(x).mean(axes, keepdim=True)
