"""Augmentation of batches of pictures and label maps together, and the faked previous mask."""

from __future__ import annotations

import torch
from kornia.augmentation import AugmentationSequential, ColorJiggle, RandomAffine, RandomGaussianBlur
from torch import Tensor, nn
from torch.nn import functional

from toolchain.training.datasets.pairs import IGNORE

# Flipping a face swaps the subject's left and right: brows (2, 3) and eyes (4, 5).
FLIPPED_CLASS = (0, 1, 3, 2, 5, 4, 6, 7, 8, 9)


class FaceAugmentation(nn.Module):
    """Random flip, rotation, scale, shift, colour and blur of a batch.

    Args:
        degrees: largest rotation.
        scale: range of the zoom factor; above 1 shows less of the surroundings.
        shift: largest shift as share of the side.
    """

    flipped_class: Tensor

    def __init__(
        self, degrees: float = 20.0, scale: tuple[float, float] = (0.75, 1.4), shift: float = 0.08
    ) -> None:
        super().__init__()
        self.pipeline = AugmentationSequential(
            RandomAffine(degrees, (shift, shift), scale, p=0.9, padding_mode="zeros"),
            ColorJiggle(0.25, 0.25, 0.25, 0.03, p=0.8),
            RandomGaussianBlur((3, 3), (0.3, 1.2), p=0.15),
            data_keys=["input", "mask"],
            same_on_batch=False,
        )
        lookup = torch.arange(256)
        lookup[: len(FLIPPED_CLASS)] = torch.tensor(FLIPPED_CLASS)
        self.register_buffer("flipped_class", lookup, persistent=False)

    @torch.no_grad()
    def forward(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Picture (N, 3, H, W) float in 0-1 and label (N, H, W) int64 -> the same shapes."""
        flip = torch.rand(len(image), device=image.device) < 0.5
        image = torch.where(flip[:, None, None, None], image.flip(-1), image)
        label = torch.where(flip[:, None, None], self.flipped_class[label.flip(-1)], label)
        image, moved = self.pipeline(image, label[:, None].float())
        return image.clamp(0, 1), moved[:, 0].round().long()


@torch.no_grad()
def fake_previous(label: Tensor, classes: int) -> Tensor:
    """Class probabilities that a previous frame could have left behind.

    Per sample one of: nothing (half of them: first frames must work alone), the true mask moved a
    little, the true mask moved a lot, or the mask of another sample of the batch.

    Args:
        label: (N, H, W) int64 with 255 where unknown.
        classes: number of classes.

    Returns:
        (N, classes, H, W) float32; all zero for an empty previous mask.
    """
    count = len(label)
    kind = torch.rand(count, device=label.device)
    strong = (kind >= 0.85) & (kind < 0.95)
    other = kind >= 0.95
    source = torch.where(other[:, None, None], label.roll(1, 0), label)
    amount = torch.where(strong, 4.0, 1.0)
    angle = torch.empty(count, device=label.device).uniform_(-0.07, 0.07) * amount
    zoom = 1 + torch.empty(count, device=label.device).uniform_(-0.05, 0.05) * amount
    shift = torch.empty(count, 2, device=label.device).uniform_(-0.06, 0.06) * amount[:, None]
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], dim=1
    )
    grid = functional.affine_grid(theta, [count, 1, *label.shape[1:]], align_corners=False)
    moved = (
        functional.grid_sample(
            source[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
        )[:, 0]
        .round()
        .long()
    )
    known = moved != IGNORE
    one_hot = functional.one_hot(torch.where(known, moved, 0), classes).permute(0, 3, 1, 2).float()
    present = (known & (kind >= 0.5)[:, None, None])[:, None]
    return functional.avg_pool2d(one_hot * present, 3, stride=1, padding=1, count_include_pad=False)
