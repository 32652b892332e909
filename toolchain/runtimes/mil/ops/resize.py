"""Operators that change the size of pictures: the last two axes, or the last few for `resize`.

Linear interpolation samples each axis at grid points; `sampling_mode` says where they lie (coremltools'
documentation of resize_bilinear gives the formulas). Nearest-neighbour operators come in two kinds, fixed by
coremltools' tests on devices: upsample_nearest_neighbor takes element floor(i X / Y), the others the element
under the centre of the output element, floor((i + 1/2) X / Y).
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, ints, number

INHERITED = 0
FAST = {"UNALIGN_CORNERS": False, "STRICT_ALIGN_CORNERS": True}
"""Sampling modes that torch's bilinear interpolation has -> its `align_corners`."""


@computes("upsample_nearest_neighbor")
def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: Tensor | float = 1, scale_factor_width: Tensor | float = 1
) -> Tensor:
    """H and W times the factors, rounded down; every element repeated."""
    for axis, factor in ((-2, scale_factor_height), (-1, scale_factor_width)):
        size = x.shape[axis]
        target = _scaled(size, factor)
        if target != size:
            x = x.index_select(axis, torch.arange(target) * size // target)
    return x


@computes("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Tensor, target_size_height: Tensor, target_size_width: Tensor) -> Tensor:
    """The element under the centre of each output element."""
    return _nearest(x, [int(number(target_size_height)), int(number(target_size_width))])


@computes("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: Tensor | float = 1,
    scale_factor_width: Tensor | float = 1,
    align_corners: Tensor | bool = True,
    half_pixel_centers: Tensor | None = None,
) -> Tensor:
    """H and W times the factors, rounded down; the grid follows the rounded sizes."""
    targets = [_scaled(x.shape[-2], scale_factor_height), _scaled(x.shape[-1], scale_factor_width)]
    aligned = flag(align_corners)
    centred = not aligned if half_pixel_centers is None else flag(half_pixel_centers)
    if aligned and centred:
        raise UnsupportedError("upsample_bilinear: align_corners and half_pixel_centers exclude each other")
    if aligned:
        return linear(x, targets, "STRICT_ALIGN_CORNERS")
    return linear(x, targets, "UNALIGN_CORNERS" if centred else "DEFAULT")


@computes("resize_bilinear")
def resize_bilinear(
    x: Tensor,
    target_size_height: Tensor | int = 1,
    target_size_width: Tensor | int = 1,
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Linear interpolation at the grid points of the mode."""
    return linear(x, [int(number(target_size_height)), int(number(target_size_width))], sampling_mode)


@computes("resize")
def resize(
    x: Tensor,
    shape: Tensor,
    resized_dims: Tensor,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last `resized_dims` axes resized to the last elements of `shape`; a 0 there keeps the size."""
    count = int(number(resized_dims))
    if count == 0:
        return x
    wanted = zip(ints(shape)[-count:], x.shape[-count:], strict=True)
    targets = [size if want == INHERITED else want for want, size in wanted]
    if interpolation_mode == "NEAREST_NEIGHBOR":
        if sampling_mode != "DEFAULT":
            raise UnsupportedError(
                f"resize: Core ML does not define the nearest neighbour of {sampling_mode}"
            )
        return _nearest(x, targets)
    if interpolation_mode != "LINEAR":
        raise UnsupportedError(f"resize: interpolation_mode '{interpolation_mode}' is not known")
    return linear(x, targets, sampling_mode)


@computes("crop")
def crop(x: Tensor, crop_height: Tensor, crop_width: Tensor) -> Tensor:
    """Without crop_height[0] rows at the top, crop_height[1] at the bottom, and columns likewise."""
    (top, bottom), (left, right) = ints(crop_height), ints(crop_width)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def grid_points(size: Tensor, count: int, mode: str) -> Tensor:
    """Where `count` points lie on an axis of `size` elements.

    Args:
        size: X, shape (...,), float64; need not be whole for regions of interest.
        count: N.
        mode: Core ML's name of the sampling mode.

    Returns:
        (..., N) points in [0, X - 1], float64.
    """
    last = (size - 1)[..., None]
    step = torch.arange(count, dtype=torch.float64)
    if mode == "ALIGN_CORNERS" and count == 1:
        return last / 2
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = step * (last / max(count - 1, 1))
    elif mode == "DEFAULT":
        # (X - X / N) / (N - 1) of the documentation is X / N.
        points = step * (size[..., None] / count)
    elif mode == "OFFSET_CORNERS":
        points = (step + 0.5) * (last.clamp(min=1) / count)
    elif mode == "UNALIGN_CORNERS":
        points = (step + 0.5) * (size[..., None] / count) - 0.5
    else:
        raise UnsupportedError(f"resize: sampling_mode '{mode}' is not known")
    return torch.minimum(points.clamp(min=0), last)


def linear(x: Tensor, targets: list[int], mode: str) -> Tensor:
    """The last len(targets) axes interpolated linearly to the target sizes."""
    if not x.is_floating_point():
        raise UnsupportedError("resize: linear interpolation of integers has no defined rounding")
    if mode == "ALIGN_CORNERS" and min(targets) > 1:
        mode = "STRICT_ALIGN_CORNERS"
    if mode in FAST and len(targets) == 2 and x.numel():
        return _interpolated(x, targets, FAST[mode])
    for axis, target in zip(range(x.ndim - len(targets), x.ndim), targets, strict=True):
        x = _linear_along(x, axis, target, mode)
    return x


def _interpolated(x: Tensor, targets: list[int], align_corners: bool) -> Tensor:
    pictures = x if x.ndim == 4 else x.reshape(1, prod(x.shape[:-2]), *x.shape[-2:])
    made = functional.interpolate(pictures, targets, mode="bilinear", align_corners=align_corners)
    return made.reshape(*x.shape[:-2], *targets)


def _linear_along(x: Tensor, axis: int, target: int, mode: str) -> Tensor:
    size = x.shape[axis]
    points = grid_points(torch.tensor(size, dtype=torch.float64), target, mode)
    below = points.floor().long()
    above = (below + 1).clamp(max=size - 1)
    weight = (points - below).float().reshape([target if place == axis else 1 for place in range(x.ndim)])
    return x.index_select(axis, below) * (1 - weight) + x.index_select(axis, above) * weight


def _nearest(x: Tensor, targets: list[int]) -> Tensor:
    for axis, target in zip(range(x.ndim - len(targets), x.ndim), targets, strict=True):
        if target != x.shape[axis]:
            x = x.index_select(axis, (2 * torch.arange(target) + 1) * x.shape[axis] // (2 * target))
    return x


def _scaled(size: int, factor: Tensor | float) -> int:
    """Size times factor rounded down; computed in float32, as coremltools does."""
    return int(torch.floor(torch.tensor(number(factor), dtype=torch.float32) * size))
