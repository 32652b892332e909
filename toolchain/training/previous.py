"""Faked masks of a previous frame, for training networks that take one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UsageError
from toolchain.training.datasets.pairs import IGNORE
from toolchain.training.settings import check, number, share
from toolchain.training.warp import POINTS, sampling_grid

# Holes of a mask are filled from the means of blocks, this many along the shorter side.
BLOCKS = 16


@dataclass(frozen=True)
class PreviousSettings:
    """The `[previous]` table of a recipe.

    Attributes:
        empty: share of the masks that are all zero, as before the first frame.
        large: share that is the true mask after a large motion.
        other: share that belongs to another sample of the batch; the rest is the true mask after a small
            motion.
        degrees: largest rotation of a small motion.
        scale: largest change of size of a small motion, 0.05 for 0.95 to 1.05.
        shift: largest shift of a small motion along each axis as share of the side.
        warp: largest shift of a control point of the thin-plate warp of a small motion as share of the side.
        factor: how many times larger all of these are for a large motion.
        drop: probability that one class other than background and skin is missed.
        soft: probability that edges are blurred over five pixels instead of three.
        growth: how much a class may grow or shrink: its probabilities are multiplied by at most e^growth or
            e^-growth, which moves blurred edges.
    """

    empty: float = share(0.5)
    large: float = share(0.1)
    other: float = share(0.05)
    degrees: float = number(4.0, 0.0, 45.0)
    scale: float = number(0.05, 0.0, 0.2)
    shift: float = number(0.03, 0.0, 0.2)
    warp: float = number(0.01, 0.0, 0.05)
    factor: float = number(4.0, 1.0, 4.0)
    drop: float = share(0.1)
    soft: float = share(0.5)
    growth: float = number(2.0, 0.0, 5.0)

    def __post_init__(self) -> None:
        check(self, "previous")
        if self.empty + self.large + self.other > 1 + 1e-9:
            raise UsageError(
                "previous.empty, previous.large and previous.other add up to more than 1",
                "they are shares of the masks",
            )


@torch.no_grad()
def fake_previous(label: Tensor, classes: int, settings: PreviousSettings = PreviousSettings()) -> Tensor:
    """Class probabilities that a network could have given for the previous frame.

    Args:
        label: (N, H, W) int64 with classes 0..classes-1, and 255 where unknown.
        classes: number of classes, at least 3: background, skin and parts.
        settings: how often and how far the masks are off.

    Returns:
        (N, classes, H, W) float32, channels last in memory; each mask sums to 1 in every pixel or is zero.
    """
    count, height, width = label.shape
    kind = torch.rand(count)
    chosen = (kind >= settings.empty).nonzero()[:, 0]
    result = torch.zeros(count, height, width, classes, device=label.device)
    if len(chosen):
        other = (kind >= 1 - settings.other)[chosen]
        source = torch.where(other, (chosen - 1) % count, chosen)
        large = (kind < settings.empty + settings.large)[chosen]
        # Positions need more digits than bfloat16 has.
        with torch.autocast(label.device.type, enabled=False):
            moved = _moved(label[source.to(label.device)], large, settings)
        result[chosen.to(label.device)] = _probabilities(moved, classes, settings)
    return result.permute(0, 3, 1, 2)


def _moved(label: Tensor, large: Tensor, settings: PreviousSettings) -> Tensor:
    """The labels, as floats, after a random motion; what comes in from outside repeats the border."""
    count, height, width = label.shape
    amount = torch.where(large, settings.factor, 1.0)[:, None]
    turn, zoom, across, down = (2 * torch.rand(4, count, 1) - 1) * amount
    angle = torch.deg2rad(settings.degrees * turn)
    size = 1 + settings.scale * zoom
    cos, sin = size * torch.cos(angle), size * torch.sin(angle)
    # The side is 2 in the grid's coordinates.
    shift_x, shift_y = 2 * settings.shift * across, 2 * settings.shift * down
    affine = torch.cat([cos, -sin, shift_x, sin, cos, shift_y], dim=1).view(count, 2, 3)
    displacement = (2 * torch.rand(count, POINTS**2, 2) - 1) * 2 * settings.warp * amount[:, :, None]
    grid = sampling_grid(affine.to(label.device), displacement.to(label.device), height, width)
    picture = label[:, None].float()
    moved = functional.grid_sample(picture, grid, mode="nearest", padding_mode="border", align_corners=False)
    return moved[:, 0]


def _probabilities(label: Tensor, classes: int, settings: PreviousSettings) -> Tensor:
    """(n, H, W, classes) of labels: a class missed, edges blurred, classes grown and shrunk, holes filled."""
    count = len(label)
    missed = torch.where(torch.rand(count) < settings.drop, torch.randint(2, classes, (count,)), IGNORE)
    label = torch.where(label == missed.to(label.device)[:, None, None], IGNORE, label)
    gain = torch.exp(settings.growth * (2 * torch.rand(count, 1, 1, classes) - 1)).to(label.device)
    index = torch.arange(classes, dtype=torch.uint8, device=label.device)
    one_hot = (label.to(torch.uint8)[..., None] == index).to(torch.uint8)
    near = _sum3x3(one_hot)
    softer = (torch.rand(count) < settings.soft).nonzero()[:, 0].to(label.device)
    near[softer] = _sum3x3(near[softer])
    mask = near * gain
    total = mask.sum(-1, keepdim=True)
    mask *= 1 / total.clamp(min=1e-6)
    holes = total[..., 0] == 0
    torn = holes.flatten(1).any(1).nonzero()[:, 0]
    if len(torn):
        mask[torn] = torch.where(holes[torn, ..., None], _surroundings(one_hot[torn]), mask[torn])
    return mask


def _sum3x3(count: Tensor) -> Tensor:
    """(n, H, W, C) uint8 summed over 3 x 3 pixels; small integers cost a quarter of floats."""
    rows = functional.pad(count, (0, 0, 0, 0, 1, 1))
    rows = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    columns = functional.pad(rows, (0, 0, 1, 1))
    return columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:]


def _surroundings(one_hot: Tensor) -> Tensor:
    """Shares of the classes in the wider neighbourhood of every pixel.

    Args:
        one_hot: (n, H, W, classes) uint8, zero where no class is known.

    Returns:
        (n, H, W, classes), sums to 1; background where a sample has no known pixel.
    """
    height, width = one_hot.shape[1:3]
    block = max(1, min(height, width) // BLOCKS)
    shares = functional.avg_pool2d(one_hot.permute(0, 3, 1, 2).float(), block, ceil_mode=True)
    # What is farther away counts where nothing is nearer.
    wide = shares + 1e-4 * shares.mean((2, 3), keepdim=True)
    wide += 0.1 * functional.avg_pool2d(shares, 3, 1, 1) + 0.01 * functional.avg_pool2d(shares, 7, 1, 3)
    wide[:, 0] += 1e-9
    wide = wide / wide.sum(1, keepdim=True)
    wide = functional.interpolate(wide, size=(height, width), mode="bilinear", align_corners=False)
    return wide.permute(0, 2, 3, 1)
