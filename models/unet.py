"""U-Net for face parsing: the baseline with bilinear upsampling.

Source: U-Net (arXiv:1505.04597). As usual today the convolutions are padded, so that the output has the
size of the input, and are followed by batch normalization. They keep their biases, the bottom is 512
channels wide instead of 1024, and bilinear upsampling replaces the transposed convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.models.faces import LABELS, face_spec
from toolchain.models.layers import conv_bn_relu, kaiming_init
from toolchain.models.zoo import register_model

WIDTHS = (64, 128, 256, 512, 512)


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch normalization and ReLU."""
    return nn.Sequential(conv_bn_relu(inputs, outputs), conv_bn_relu(outputs, outputs))


class UNet(nn.Module):
    """Encoder of four poolings, decoder of four bilinear upsamplings with the encoder's maps beside them.

    Upsampling has its sampling points at pixel centres (`align_corners=False`, ONNX "half_pixel").

    Args:
        classes: output classes, background included.
    """

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            double_conv(inputs, outputs) for inputs, outputs in zip((3, *WIDTHS), WIDTHS, strict=False)
        )
        self.decoder = nn.ModuleList()
        below = WIDTHS[-1]
        for level in reversed(range(len(WIDTHS) - 1)):
            # Each stage leaves the width that the next one concatenates with; the last keeps its own.
            outputs = WIDTHS[max(level - 1, 0)]
            self.decoder.append(double_conv(below + WIDTHS[level], outputs))
            below = outputs
        self.head = nn.Conv2d(below, classes, 1)
        kaiming_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, classes, H, W); H and W must be multiples of 16."""
        x = self.encoder[0](image)
        skips = []
        for stage in self.encoder[1:]:
            skips.append(x)
            x = stage(functional.max_pool2d(x, 2))
        for stage in self.decoder:
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = stage(torch.cat([skips.pop(), x], dim=1))
        return self.head(x)


register_model(
    face_spec(
        "unet",
        "face parsing baseline, bilinear U-Net",
        "U-Net, arXiv:1505.04597, with batch normalization and bilinear upsampling",
        previous=False,
    )
)(UNet)
