"""Augmentation of whole batches on tensors: cheap enough for networks that take milliseconds a step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from toolchain.training.classification_settings import PictureAugmentation


def augmented(images: Tensor, settings: PictureAugmentation) -> Tensor:
    """A batch flipped, moved, zoomed and recoloured at random, each picture by itself.

    Random numbers come from torch's generator of the CPU.

    Args:
        images: (N, C, H, W) uint8.
        settings: what to do.

    Returns:
        (N, C, H, W) in 0-255: uint8 where pixels only change places, else float32.
    """
    images, _ = moved(images, None, settings)
    return recoloured(images, settings.colour) if settings.colour else images


def moved(images: Tensor, maps: Tensor | None, settings: PictureAugmentation) -> tuple[Tensor, Tensor | None]:
    """Flip, shift and zoom of pictures, and of the label maps that belong to them.

    Args:
        images: (N, C, H, W) uint8.
        maps: (N, H, W) integers, or None. Pixels beyond the border repeat the outermost ones in both.
        settings: what to do.
    """
    count = len(images)
    if settings.flip:
        chosen = (torch.rand(count) < settings.flip).to(images.device)
        images = torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)
        if maps is not None:
            maps = torch.where(chosen.view(-1, 1, 1), maps.flip(-1), maps)
    if settings.zoom != (1.0, 1.0):
        return _zoomed(images, maps, settings)
    if settings.shift:
        return _shifted(images, maps, settings.shift)
    return images, maps


def recoloured(images: Tensor, most: float) -> Tensor:
    """Contrast around the mean of each picture, and brightness, changed by up to that share."""
    images = images.float()
    contrast, brightness = (
        (1 + most * (2 * torch.rand(len(images), 1, 1, 1) - 1)).to(images.device) for _ in range(2)
    )
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean * brightness).clamp_(0, 255)


def _shifted(images: Tensor, maps: Tensor | None, share: float) -> tuple[Tensor, Tensor | None]:
    """Whole pixels: the values stay what they are."""
    count, _, height, width = images.shape
    rows = _places(count, height, share).to(images.device)
    columns = _places(count, width, share).to(images.device)
    number = torch.arange(count, device=images.device).view(-1, 1, 1)
    where = number, rows[:, :, None], columns[:, None, :]
    # Indexed with the channels last: one gather for all of them.
    images = images.permute(0, 2, 3, 1)[where].permute(0, 3, 1, 2)
    return images, maps if maps is None else maps[where]


def _places(count: int, side: int, share: float) -> Tensor:
    """(N, side) int64: from where each row or column comes."""
    most = round(share * side)
    shift = torch.randint(-most, most + 1, (count, 1))
    return (torch.arange(side) + shift).clamp_(0, side - 1)


def _zoomed(
    images: Tensor, maps: Tensor | None, settings: PictureAugmentation
) -> tuple[Tensor, Tensor | None]:
    count = len(images)
    low, high = (torch.tensor(value).log() for value in settings.zoom)
    factor = torch.exp(low + (high - low) * torch.rand(count))
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / factor
    # The grid goes from -1 to 1: a side is 2.
    matrix[:, :, 2] = 2 * settings.shift * (2 * torch.rand(count, 2) - 1)
    grid = functional.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    sampled = functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    if maps is not None:
        nearest = functional.grid_sample(
            maps[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
        )
        maps = nearest[:, 0].to(maps.dtype)
    return sampled, maps
