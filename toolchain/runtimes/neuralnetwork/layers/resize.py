"""Upsampling and resizing of pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import enum_name, pair, per_picture, positive

TOLERANCE = 1e-3


@computes("upsample")
def upsample(p: Any) -> Kernel:
    """A picture enlarged by a factor, by nearest neighbour or bilinearly."""
    mode, grid_mode = enum_name(p, "mode"), enum_name(p, "linearUpsampleMode")
    if p.scalingFactor and p.fractionalScalingFactor:
        raise UnsupportedError("two scaling factors are given")
    if p.fractionalScalingFactor:
        factors: tuple[float, ...] = tuple(p.fractionalScalingFactor)
    else:
        factors = positive(pair(p.scalingFactor, 1), "scalingFactor")
    if len(factors) != 2:
        raise UnsupportedError(f"needs two factors, not {factors}")
    if mode == "NN":
        if any(factor != int(factor) for factor in factors):
            raise UnsupportedError(f"nearest neighbour with the fractional factors {factors}")
        rows, columns = (int(factor) for factor in factors)
        return per_picture(lambda x: x.repeat_interleave(rows, -2).repeat_interleave(columns, -1))

    def picture(x: torch.Tensor) -> torch.Tensor:
        targets = [_target(size, factor) for size, factor in zip(x.shape[-2:], factors, strict=True)]
        return resampled(
            x, *(_upsample_grid(*sizes, grid_mode) for sizes in zip(x.shape[-2:], targets, strict=True))
        )

    return per_picture(picture)


def _target(size: int, factor: float) -> int:
    """Size times factor; coremltools adds 1e-4 / size to a factor that does not divide."""
    return math.floor(size * factor + TOLERANCE / 10)


def _upsample_grid(size: int, target: int, mode: str) -> np.ndarray:
    """Source coordinate of each output pixel, as UpsampleLayerParams describes it."""
    place = np.arange(target)
    if mode == "ALIGN_CORNERS_FALSE":
        spacing = size / target
        points = place * spacing + 0.5 * spacing - 0.5
    else:
        span = size - 1 if mode == "ALIGN_CORNERS_TRUE" else size - size / target
        points = place * (span / (target - 1) if target > 1 else 0.0)
    return np.clip(points, 0, size - 1)


@computes("resizeBilinear")
def resize_bilinear(p: Any) -> Kernel:
    """A picture resized to a stated size."""
    targets = positive(pair(p.targetSize, 1), "targetSize")
    mode = enum_name(p.mode, "samplingMethod")

    def picture(x: torch.Tensor) -> torch.Tensor:
        sizes = zip(x.shape[-2:], targets, strict=True)
        return resampled(x, *(np.clip(sampling_grid(*size, mode), 0, None) for size in sizes))

    return per_picture(picture)


def sampling_grid(size: float, target: int, mode: str) -> np.ndarray:
    """`target` points of the interval [0, size - 1], as the message SamplingMode describes them."""
    last = size - 1
    if mode == "ALIGN_ENDPOINTS_MODE" and target == 1:
        return np.array([last / 2])
    if mode in ("STRICT_ALIGN_ENDPOINTS_MODE", "ALIGN_ENDPOINTS_MODE"):
        return np.linspace(0, last, target)
    if mode == "UPSAMPLE_MODE":
        return np.minimum(last, np.linspace(0, size - size / target, target))
    if mode == "ROI_ALIGN_MODE":
        spacing = max(1, last) / target
        start = 0.5 * spacing
        return np.minimum(last, np.linspace(start, start + (target - 1) * spacing, target))
    raise UnsupportedError(f"the sampling method {mode} is not known")


def resampled(x: torch.Tensor, rows: np.ndarray, columns: np.ndarray) -> torch.Tensor:
    """Bilinear values of [N, C, H, W] at all crossings of these row and column coordinates."""
    return _interpolated(_interpolated(x, rows, 2), columns, 3)


def _interpolated(x: torch.Tensor, points: np.ndarray, axis: int) -> torch.Tensor:
    low = np.floor(points).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = torch.from_numpy((points - low).astype(np.float32))
    share = share.reshape([-1 if index == axis else 1 for index in range(x.ndim)])
    below = x.index_select(axis, torch.from_numpy(low))
    return below + (x.index_select(axis, torch.from_numpy(high)) - below) * share
