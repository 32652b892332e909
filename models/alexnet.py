"""AlexNet in one tower, for pictures of 224 pixels or fewer.

Source: "One weird trick for parallelizing convolutional neural networks" (arXiv:1404.5997), the variant
without the two towers of 2012, with dropout before the two hidden layers. Names of the parameters are those
of torchvision's AlexNet: at 224 px and 1000 classes its ImageNet weights fit as they are, at other sizes and
classes those of the convolutions do.
"""

from __future__ import annotations

from torch import Tensor, nn

from toolchain.models.layers import kaiming_init
from toolchain.models.mobilenetv2 import IMAGENET_PREPROCESS
from toolchain.models.zoo import register_model
from toolchain.spec import CLASSIFICATION, ModelSpec, TensorSpec

LABELS = ("cats", "dogs")
SIZE = 128
HIDDEN = 4096
DROPOUT = 0.5


class AlexNet(nn.Module):
    """Five convolutions, three poolings, three linear layers.

    Args:
        classes: output classes.
        size: side of the pictures in pixels, from 63 on; 224 for ImageNet.
        hidden: width of the two hidden linear layers.
    """

    def __init__(self, classes: int = len(LABELS), size: int = SIZE, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        left = (size + 4 - 11) // 4 + 1
        for _ in range(3):
            left = (left - 3) // 2 + 1
        self.classifier = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Linear(256 * left * left, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(DROPOUT),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )
        kaiming_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, size, size) -> logits (N, classes)."""
        return self.classifier(self.features(image).flatten(1))


register_model(
    ModelSpec(
        name="alexnet",
        task=CLASSIFICATION,
        inputs=(TensorSpec("image", (1, 3, SIZE, SIZE), layout="NCHW"),),
        outputs=(TensorSpec("logits", (1, len(LABELS)), layout="NC"),),
        preprocess=IMAGENET_PREPROCESS,
        labels=LABELS,
        description="cats and dogs, AlexNet in one tower at 128 px",
        source="AlexNet, arXiv:1404.5997",
    )
)(AlexNet)
