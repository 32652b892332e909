"""One sampling grid for an affine map and a thin-plate warp together."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

# Control points of the thin-plate warp on each axis.
POINTS = 4


def sampling_grid(affine: Tensor, displacement: Tensor, height: int, width: int) -> Tensor:
    """Where every pixel of the result takes its value from.

    A point p of the result is first moved by the thin-plate spline that moves the control points by
    `displacement` (Bookstein 1989, Principal Warps), then mapped by `affine`.

    Args:
        affine: (N, 2, 3) on coordinates (x, y) where -1 and 1 are the outer edges of the picture.
        displacement: (N, POINTS^2, 2) in the same coordinates, control points row by row.
        height: of the result in pixels.
        width: of the result in pixels.

    Returns:
        (N, height, width, 2) for `grid_sample` with align_corners=False.
    """
    # affine(p + warp(p)) is linear in 1, x, y and the splines: one matrix product for all of it.
    linear = affine[:, :, :2]
    coefficients = torch.cat([affine.mT, displacement @ linear.mT], dim=1)
    basis = _basis(height, width).to(affine.device)
    grid = (coefficients.mT.reshape(-1, len(basis)) @ basis).view(-1, 2, height, width)
    return grid.permute(0, 2, 3, 1)


@lru_cache(maxsize=4)
def _basis(height: int, width: int) -> Tensor:
    """(3 + POINTS^2, height * width): x, y, 1 and the displacement that each control point contributes."""
    points = _coordinates(POINTS, POINTS, ends=True)
    pixels = _coordinates(height, width, ends=False)
    ones = torch.ones(len(points), 1, dtype=torch.float64)
    affine = torch.cat([ones, points], dim=1)
    system = torch.zeros(len(points) + 3, len(points) + 3, dtype=torch.float64)
    system[: len(points), : len(points)] = _thin_plate(points, points)
    system[: len(points), len(points) :] = affine
    system[len(points) :, : len(points)] = affine.T
    weights = torch.linalg.inv(system)[:, : len(points)]
    ones = torch.ones(len(pixels), 1, dtype=torch.float64)
    values = torch.cat([_thin_plate(pixels, points), ones, pixels], dim=1) @ weights
    return torch.cat([pixels, ones, values], dim=1).float().T.contiguous()


def _coordinates(rows: int, columns: int, ends: bool) -> Tensor:
    """(rows * columns, 2) of x and y: from -1 to 1, or the centres of as many cells between them."""
    axes = []
    for count in (rows, columns):
        steps = torch.arange(count, dtype=torch.float64)
        axes.append(2 * steps / (count - 1) - 1 if ends else (2 * steps + 1) / count - 1)
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def _thin_plate(first: Tensor, second: Tensor) -> Tensor:
    """r^2 log r of all distances, 0 at r = 0."""
    square = (first[:, None] - second[None]).square().sum(-1)
    return 0.5 * torch.xlogy(square, square)
