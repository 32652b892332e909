"""FCN-ResNet50: a fully convolutional head on a dilated ResNet, for the 21 classes of Pascal VOC.

Sources: fully convolutional networks (arXiv:1411.4038), ResNet-50 (arXiv:1512.03385) with the stride of a
bottleneck in its 3x3 convolution, dilation instead of stride in the last two stages (arXiv:1706.05587).
Names of the parameters are those of torchvision's `fcn_resnet50`: its weights fit. The auxiliary head,
which only its training used, is left out.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from toolchain.models.layers import kaiming_init
from toolchain.models.mobilenetv2 import IMAGENET_PREPROCESS
from toolchain.models.zoo import register_model
from toolchain.spec import SEGMENTATION, ModelSpec, TensorSpec

LABELS = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
SIZE = 256
STEM_WIDTH = 64
EXPANSION = 4
# Width of the 3x3 convolutions, blocks, stride of the first block, dilation of the first and of all others.
STAGES = ((64, 3, 1, 1, 1), (128, 4, 2, 1, 1), (256, 6, 1, 1, 2), (512, 3, 1, 2, 4))
DROPOUT = 0.1


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution around a shortcut.

    Args:
        inputs: channels in.
        width: channels of the 3x3 convolution; four times as many come out.
        stride: of the 3x3 convolution and of the shortcut.
        dilation: of the 3x3 convolution.
    """

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, 4 * width, H / stride, W / stride)."""
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn3(self.conv3(inner)) + shortcut)


class FCNResNet50(nn.Module):
    """ResNet-50 at an eighth of the size, a 3x3 and a 1x1 convolution, bilinear enlargement.

    Args:
        classes: output classes, background included.
    """

    # Beginnings of keys in torchvision's files that `load_weights` leaves out: the auxiliary head.
    unused_weights = ("aux_classifier.",)

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(3, STEM_WIDTH, 7, 2, 3, bias=False),
            bn1=nn.BatchNorm2d(STEM_WIDTH),
            relu=nn.ReLU(inplace=True),
            maxpool=nn.MaxPool2d(3, 2, 1),
        )
        below = STEM_WIDTH
        for number, (width, blocks, stride, first, others) in enumerate(STAGES, 1):
            stage = [Bottleneck(below, width, stride, first)]
            below = width * EXPANSION
            stage += [Bottleneck(below, width, 1, others) for _ in range(blocks - 1)]
            parts[f"layer{number}"] = nn.Sequential(*stage)
        self.backbone = nn.Sequential(parts)
        inner = below // EXPANSION
        self.classifier = nn.Sequential(
            nn.Conv2d(below, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Dropout(DROPOUT),
            nn.Conv2d(inner, classes, 1),
        )
        kaiming_init(self)
        for block in self.modules():
            if isinstance(block, Bottleneck):
                # No activation before the sum: sixteen of them would add up to hundreds.
                nn.init.kaiming_normal_(block.conv3.weight, nonlinearity="linear")

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> logits (N, classes, H, W)."""
        logits = self.classifier(self.backbone(image))
        return functional.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)


def voc_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours of Pascal VOC: the bits of a class number, lowest first, are the highest bits of R, G, B."""
    palette = []
    for number in range(count):
        color = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                color[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
        palette.append((color[0], color[1], color[2]))
    return tuple(palette)


register_model(
    ModelSpec(
        name="fcn-resnet50",
        task=SEGMENTATION,
        inputs=(TensorSpec("image", (1, 3, SIZE, SIZE), layout="NCHW"),),
        outputs=(TensorSpec("logits", (1, len(LABELS), SIZE, SIZE), layout="NCHW"),),
        preprocess=IMAGENET_PREPROCESS,
        labels=LABELS,
        palette=voc_palette(len(LABELS)),
        description="Pascal VOC's classes, FCN on a dilated ResNet-50",
        source="arXiv:1411.4038, arXiv:1706.05587",
    )
)(FCNResNet50)
