"""Parts of pictures, resized."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.neuralnetwork.kernels import Kernel, computes
from toolchain.runtimes.neuralnetwork.layers.parameters import enum_name, pair, positive
from toolchain.runtimes.neuralnetwork.layers.resize import resampled, sampling_grid

TOLERANCE = 1e-4


@computes("cropResize")
def crop_resize(p: Any) -> Kernel:
    """Boxes [N, 1, 4 or 5, 1, 1] of pictures [1, B, C, H, W], resized bilinearly.

    Five values begin with the picture's index. A box spans the coordinates from its start to its end, both
    included; coordinates outside of the picture are refused.
    """
    targets = positive(pair(p.targetSize, 1), "targetSize")
    mode, box_mode = enum_name(p.mode, "samplingMethod"), enum_name(p.boxIndicesMode, "boxMode")
    if not p.spatialScale:
        raise UnsupportedError("spatialScale is zero")

    def run(x: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        fits = boxes.ndim == 5 and boxes.shape[2] in (4, 5) and boxes.shape[1::2] == (1, 1)
        if x.ndim != 5 or x.shape[0] != 1 or not fits or boxes.shape[4] != 1:
            raise UnsupportedError(
                f"takes [1, B, C, H, W] and boxes, got {tuple(x.shape)} and {tuple(boxes.shape)}"
            )
        parts = []
        for values in boxes[:, 0, :, 0, 0].double().tolist():
            pictures = x[0] if len(values) == 4 else x[0, int(values[0])][None]
            spans = _spans(values[-4:], box_mode, p, tuple(x.shape[-2:]))
            grids = [
                start + sampling_grid(end - start + 1, target, mode)
                for (start, end), target in zip(spans, targets, strict=True)
            ]
            parts.append(resampled(pictures, *_checked(grids, tuple(x.shape[-2:]))))
        return torch.stack(parts)

    return run


def _spans(values: list[float], mode: str, p: Any, sizes: tuple[int, ...]) -> list[tuple[float, float]]:
    """(start, end) of rows and of columns, in pixels."""
    first, second = values[:2], values[2:]
    if mode.endswith("WIDTH_FIRST"):
        first, second = first[::-1], second[::-1]
    if mode.startswith("CENTER_SIZE"):
        middle, extent = first, second
        first = [centre - size / 2 for centre, size in zip(middle, extent, strict=True)]
        second = [centre + size / 2 for centre, size in zip(middle, extent, strict=True)]
    scales = [p.spatialScale * (size - 1 if p.normalizedCoordinates else 1) for size in sizes]
    return [(a * scale, b * scale) for a, b, scale in zip(first, second, scales, strict=True)]


def _checked(grids: list[np.ndarray], sizes: tuple[int, ...]) -> list[np.ndarray]:
    for grid, size in zip(grids, sizes, strict=True):
        if grid.min() < -TOLERANCE or grid.max() > size - 1 + TOLERANCE:
            raise UnsupportedError("a box reaches outside of the picture")
    return [np.clip(grid, 0, size - 1) for grid, size in zip(grids, sizes, strict=True)]
