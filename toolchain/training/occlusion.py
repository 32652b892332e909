"""Things that hide part of a face: boards, balls and hands in random colours and textures."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# A hand in its own coordinates (palm around the origin, fingers up): start x, y, end x, y, radius.
_HAND = torch.tensor(
    [
        [-0.30, -0.35, -0.42, -1.10, 0.13],
        [-0.10, -0.40, -0.13, -1.30, 0.13],
        [0.10, -0.40, 0.14, -1.25, 0.13],
        [0.29, -0.32, 0.40, -0.98, 0.12],
        [-0.35, 0.20, -0.85, -0.35, 0.15],
        [0.00, -0.05, 0.00, 0.15, 0.48],
        [0.00, 0.20, 0.05, 1.50, 0.30],
    ]
)


def occluders(image: Tensor, size: tuple[float, float]) -> Tensor:
    """Coverage of one random shape per sample: a rotated rectangle, an ellipse or a hand.

    Args:
        image: (N, 3, H, W), for its shape and device.
        size: smallest and largest extent of a shape from its centre as share of the side; hands reach half
            as far again.

    Returns:
        (N, H, W) in 0-1, antialiased over about two pixels.
    """
    count, _, height, width = image.shape
    kind = torch.randint(3, (count,))
    extent = torch.empty(count).uniform_(*size)
    stretch = torch.empty(count).uniform_(0.4, 1.0)
    angle = torch.empty(count).uniform_(-math.pi, math.pi)
    center = torch.empty(count, 2).uniform_(0.15, 0.85)
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    result = torch.empty(count, height, width)
    for index in range(count):
        across, down = x[None] - center[index, 0], y[:, None] - center[index, 1]
        cos, sin = torch.cos(angle[index]), torch.sin(angle[index])
        u = (cos * across + sin * down) / extent[index]
        v = (cos * down - sin * across) / extent[index]
        outside = _outside(int(kind[index]), u, v, float(stretch[index]))
        result[index] = (0.5 - outside * extent[index] * width / 2).clamp(0, 1)
    return result.to(image.device)


def _outside(kind: int, u: Tensor, v: Tensor, stretch: float) -> Tensor:
    """About the signed distance to the shape, in units of its extent."""
    if kind == 0:
        return torch.maximum(u.abs() - 1, v.abs() - stretch)
    if kind == 1:
        # To first order: how far the level is from 1, by the length of its gradient.
        level = torch.hypot(u, v / stretch)
        return (level - 1) * level / torch.hypot(u, v / stretch**2).clamp(min=1e-6)
    distance = torch.full(u.shape, math.inf)
    for x0, y0, x1, y1, radius in _HAND.tolist():
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        along = (((u - x0) * (x1 - x0) + (v - y0) * (y1 - y0)) / length).clamp(0, 1)
        away = torch.hypot(u - x0 - along * (x1 - x0), v - y0 - along * (y1 - y0)) - radius
        distance = torch.minimum(distance, away)
    return distance


def textures(image: Tensor, skin: Tensor) -> Tensor:
    """What the occluders look like: smooth patterns around a random colour, or around the skin's own.

    Args:
        image: (N, 3, H, W) in 0-1.
        skin: (N, H, W) bool; where it is empty the colour is random.

    Returns:
        (N, 3, H, W) in 0-1.
    """
    count, _, height, width = image.shape
    device = image.device
    area = skin.flatten(1).sum(1)
    mean = (image * skin[:, None]).flatten(2).sum(2) / area.clamp(min=1)[:, None]
    from_skin = (torch.rand(count).to(device) < 0.5) & (area > 0)
    tinted = (mean * torch.empty(count, 1).uniform_(0.7, 1.2).to(device)).clamp(0, 1)
    color = torch.where(from_skin[:, None], tinted, torch.rand(count, 3).to(device))
    # Fine noise on a coarse one: cloth, wood and fur rather than flat paint.
    contrast = torch.empty(count, 1, 1, 1).uniform_(0.0, 0.25).to(device)
    result = color[:, :, None, None].expand(image.shape)
    for cells, factor in ((4, 1.0), (32, 0.5)):
        pattern = torch.randn(count, 3, cells, cells).mean(1, keepdim=True).to(device)
        pattern = functional.interpolate(pattern, (height, width), mode="bilinear", align_corners=False)
        result = result + factor * contrast * pattern
    return result.clamp(0, 1)
