"""Mobile-Hourglass: a one-stack hourglass of inverted residual blocks for face parsing.

The video variants take the previous frame's class probabilities beside the picture, so that masks
stay steady; on the first frame they are zero. The published text does not give the stem of the
network: the stems here are reconstructed so that the parameter counts round to the published
0.09, 0.12, 0.17 and 0.27 million.

Sources: stacked hourglass (arXiv:1603.06937), inverted residuals (arXiv:1801.04381), the previous mask
as input (Google's real-time hair segmentation, arXiv:1907.06740), dense tail (arXiv:1608.06993).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.models.faces import LABELS, face_spec
from toolchain.models.layers import InvertedResidual, conv_bn_relu6
from toolchain.models.zoo import register_model

DEPTH = 4
STEM_WIDTH = 64
GROWTH = 8
DENSE_LAYERS = 4


class Hourglass(nn.Module):
    """One level of the hourglass, with the lower levels inside: 3 * depth + 1 blocks in all.

    Input and output are (N, width, H, W); H and W must be multiples of 2 ** depth.
    """

    def __init__(self, width: int, expansion: int, depth: int) -> None:
        super().__init__()
        self.skip = InvertedResidual(width, width, expansion)
        self.down = InvertedResidual(width, width, expansion)
        self.inner: nn.Module = (
            Hourglass(width, expansion, depth - 1) if depth > 1 else InvertedResidual(width, width, expansion)
        )
        self.up = InvertedResidual(width, width, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same shape."""
        low = self.up(self.inner(self.down(functional.max_pool2d(x, 2))))
        return self.skip(x) + functional.interpolate(low, scale_factor=2.0, mode="nearest")


class DenseTail(nn.Module):
    """Densely connected layers (BN, ReLU, 3x3 convolution) and the 1x1 classifier."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(width + index * GROWTH),
                nn.ReLU(inplace=False),
                nn.Conv2d(width + index * GROWTH, GROWTH, 3, padding=1, bias=False),
            )
            for index in range(DENSE_LAYERS)
        )
        self.head = nn.Conv2d(width + DENSE_LAYERS * GROWTH, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, classes, H, W)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return self.head(x)


class VideoHourglass(nn.Module):
    """The published video network: picture and previous class probabilities in, logits out.

    Args:
        width: channels of the body (f).
        expansion: expansion factor of the blocks (t).
        classes: output classes, background included.
    """

    def __init__(self, width: int, expansion: int, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn_relu6(3 + classes, STEM_WIDTH, 7), conv_bn_relu6(STEM_WIDTH, width, 3)
        )
        self.body = Hourglass(width, expansion, DEPTH)
        self.tail = DenseTail(width, classes)

    def forward(self, image: Tensor, previous: Tensor) -> Tensor:
        """(N, 3, H, W) and (N, classes, H, W) -> logits (N, classes, H, W)."""
        return self.tail(self.body(self.stem(torch.cat([image, previous], dim=1))))


class StillHourglass(nn.Module):
    """The published network for single pictures."""

    def __init__(self, width: int, expansion: int, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn_relu6(3, STEM_WIDTH, 7),
            conv_bn_relu6(STEM_WIDTH, STEM_WIDTH, 3),
            conv_bn_relu6(STEM_WIDTH, width, 3),
        )
        self.body = nn.Sequential(
            Hourglass(width, expansion, DEPTH), InvertedResidual(width, width, expansion)
        )
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, classes, H, W)."""
        return self.head(self.body(self.stem(image)))


class LightHourglass(nn.Module):
    """One 3x3 convolution as stem and no dense tail.

    The 64-channel stem at full resolution is 60 to 80 % of the multiply-adds of the published network.
    """

    def __init__(self, width: int = 16, expansion: int = 6, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.stem = conv_bn_relu6(3 + classes, width, 3)
        self.body = Hourglass(width, expansion, DEPTH)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor, previous: Tensor) -> Tensor:
        """(N, 3, H, W) and (N, classes, H, W) -> logits (N, classes, H, W)."""
        return self.head(self.body(self.stem(torch.cat([image, previous], dim=1))))


SOURCE = "Mobile-Hourglass (thesis, chapter 5); stem reconstructed from the parameter counts"

register_model(
    face_spec(
        "mobile-hourglass-light",
        "face parsing, light stem, f16 t6; ships with weights",
        SOURCE,
        previous=True,
    )
)(LightHourglass)

for _width in (16, 32):
    for _expansion in (3, 6):
        _variant = f"f{_width}-t{_expansion}"
        register_model(
            face_spec(
                f"mobile-hourglass-video-{_variant}",
                f"face parsing on video, published {_variant}",
                SOURCE,
                True,
            ),
            width=_width,
            expansion=_expansion,
        )(VideoHourglass)
        register_model(
            face_spec(
                f"mobile-hourglass-still-{_variant}",
                f"face parsing on stills, published {_variant}",
                SOURCE,
                False,
            ),
            width=_width,
            expansion=_expansion,
        )(StillHourglass)
