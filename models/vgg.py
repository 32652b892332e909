"""VGG11 for 32x32 pictures.

Source: configuration A of VGG (arXiv:1409.1556), in the form that is usual for CIFAR-10: batch normalization
after each of the eight biased convolutions, and one linear classifier, because the fifth pooling leaves
a single pixel of 512 channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from toolchain.models.layers import conv_bn_relu, kaiming_init
from toolchain.models.zoo import register_model
from toolchain.spec import CLASSIFICATION, ModelSpec, Preprocess, TensorSpec

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32

# Mean and standard deviation of the pixels of the CIFAR-10 training pictures.
CIFAR_PREPROCESS = Preprocess(mean=(125.31, 122.95, 113.87), std=(62.99, 62.09, 66.70))


class VGG11(nn.Module):
    """Eight convolutions in five stages, each stage ended by max pooling.

    Args:
        classes: output classes.
    """

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        below = 3
        for stage in STAGES:
            for width in stage:
                layers.append(conv_bn_relu(below, width))
                below = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(below, classes))
        kaiming_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> logits (N, classes)."""
        return self.classifier(self.features(image))


register_model(
    ModelSpec(
        name="vgg11",
        task=CLASSIFICATION,
        inputs=(TensorSpec("image", (1, 3, SIZE, SIZE), layout="NCHW"),),
        outputs=(TensorSpec("logits", (1, len(LABELS)), layout="NC"),),
        preprocess=CIFAR_PREPROCESS,
        labels=LABELS,
        description="CIFAR-10, VGG11 with batch normalization",
        source="VGG configuration A, arXiv:1409.1556",
    )
)(VGG11)
