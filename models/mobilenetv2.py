"""MobileNetV2 with its two multipliers: width (channels) and resolution (input size).

Source: arXiv:1801.04381, table 2 and section 4.1. Strided convolutions pad symmetrically, as is usual in
PyTorch.
"""

from __future__ import annotations

from torch import Tensor, nn

from toolchain.models.layers import InvertedResidual, conv_bn_relu6, kaiming_init
from toolchain.models.zoo import register_model
from toolchain.spec import CLASSIFICATION, ModelSpec, Preprocess, TensorSpec

CLASSES = 1000
STEM_WIDTH = 32
LAST_WIDTH = 1280
DROPOUT = 0.2

# Expansion, channels, blocks, stride of the first block (table 2).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

# Mean and standard deviation of ImageNet's training pictures.
IMAGENET_PREPROCESS = Preprocess(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))

# Width and input size: the four first rows are points of the paper's figure 5, the last of its table 4.
VARIANTS = ((0.35, 96), (0.5, 160), (0.75, 192), (1.0, 224), (1.4, 224))


def scaled_width(channels: int, width: float) -> int:
    """Channels times the width multiplier, as the nearest multiple of 8 that is at least 8.

    A multiple below 90 % of the exact product is raised by 8, as in the reference implementation.
    """
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


class MobileNetV2(nn.Module):
    """Seventeen inverted residual blocks between a stem and a 1x1 convolution.

    Args:
        width: channel multiplier; the last convolution never gets narrower than 1280.
        classes: output classes.
    """

    def __init__(self, width: float = 1.0, classes: int = CLASSES) -> None:
        super().__init__()
        below = scaled_width(STEM_WIDTH, width)
        layers: list[nn.Module] = [conv_bn_relu6(3, below, 3, stride=2)]
        for expansion, channels, blocks, stride in STAGES:
            outputs = scaled_width(channels, width)
            for index in range(blocks):
                layers.append(InvertedResidual(below, outputs, expansion, stride if index == 0 else 1))
                below = outputs
        last = scaled_width(LAST_WIDTH, max(1.0, width))
        layers.append(conv_bn_relu6(below, last, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(last, classes))
        kaiming_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, classes), for any H and W."""
        return self.classifier(self.features(image).mean((2, 3)))


for _width, _size in VARIANTS:
    _name = "mobilenetv2" if (_width, _size) == (1.0, 224) else f"mobilenetv2-{_width:g}-{_size}"
    register_model(
        ModelSpec(
            name=_name,
            task=CLASSIFICATION,
            inputs=(TensorSpec("image", (1, 3, _size, _size), layout="NCHW"),),
            outputs=(TensorSpec("logits", (1, CLASSES), layout="NC"),),
            preprocess=IMAGENET_PREPROCESS,
            description=f"ImageNet, MobileNetV2, width {_width:g}, {_size} px",
            source="MobileNetV2, arXiv:1801.04381",
        ),
        width=_width,
    )(MobileNetV2)
