"""SegNet for face parsing: the baseline with the VGG16 encoder and unpooling at the maxima.

Source: SegNet (arXiv:1511.00561). The decoder mirrors the encoder; all convolutions have biases and
batch normalization, save the last one, which gives the logits.

Phones have no unpooling with indices. Here the encoder keeps a mask of where each maximum was, which
takes only max pooling, nearest upsampling, comparison and selection. It gives exactly what
`torch.nn.functional.max_unpool2d` gives, ties included (after a ReLU most windows of a dead channel tie).

Unpooling is discontinuous: where two cells of a window differ by less than rounding, two correct runtimes
may send a value to different cells, and one such cell in the fifth stage costs about 35 dB of the logits'
signal-to-noise ratio. Torch itself differs that much between its two memory formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.models.faces import LABELS, face_spec
from toolchain.models.layers import conv_bn_relu, kaiming_init
from toolchain.models.zoo import register_model

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class MaxPoolWithMask(nn.Module):
    """2x2 max pooling that also tells where the maximum of each window was.

    A tie is resolved as in `max_pool2d(return_indices=True)`, for the first in row-major order: among
    the maxima the one with the highest rank wins, and the ranks fall from the first cell to the last.
    """

    rank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rank", torch.tensor([[[[4.0, 3.0], [2.0, 1.0]]]]), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) with even H and W -> (N, C, H / 2, W / 2) and a boolean (N, C, H, W)."""
        pooled = functional.max_pool2d(x, 2)
        ranks = self.rank.to(x.dtype).repeat(1, 1, pooled.shape[2], pooled.shape[3])
        ranks = torch.where(x == _nearest(pooled), ranks, 0.0)
        return pooled, ranks == _nearest(functional.max_pool2d(ranks, 2))


def unpool(x: Tensor, mask: Tensor) -> Tensor:
    """Put each value where `mask` says that the maximum of its window was, zeros elsewhere.

    Args:
        x: (N, C, H, W).
        mask: boolean (N, C, 2 H, 2 W).
    """
    return torch.where(mask, _nearest(x), 0.0)


def _nearest(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class SegNet(nn.Module):
    """Five encoder stages of VGG16, and as many decoder stages in reverse.

    Args:
        classes: output classes, background included.
    """

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.pool = MaxPoolWithMask()
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        below = 3
        for widths in STAGES:
            self.encoder.append(_stage((below, *widths)))
            # Where the first encoder stage has its three input channels, the decoder has the head.
            mirrored = (*reversed(widths), below) if below != 3 else widths
            self.decoder.insert(0, _stage(mirrored))
            below = widths[-1]
        self.head = nn.Conv2d(STAGES[0][0], classes, 3, padding=1)
        kaiming_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, classes, H, W); H and W must be multiples of 32."""
        x = image
        masks = []
        for stage in self.encoder:
            x, mask = self.pool(stage(x))
            masks.append(mask)
        for stage in self.decoder:
            x = stage(unpool(x, masks.pop()))
        return self.head(x)


def _stage(widths: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(conv_bn_relu(a, b) for a, b in pairwise(widths)))


register_model(
    face_spec(
        "segnet",
        "face parsing baseline, SegNet with VGG16-BN encoder",
        "SegNet, arXiv:1511.00561",
        previous=False,
    )
)(SegNet)
