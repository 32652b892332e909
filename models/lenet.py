"""LeNet for handwritten digits, as Caffe's example defines it: the smallest network of the zoo.

Source: LeNet-5 (LeCun et al. 1998) in the form of Caffe's `lenet.prototxt`: 20 and 50 filters of 5x5
without padding or activation, each followed by max pooling, then 500 hidden units with ReLU.
"""

from __future__ import annotations

from torch import Tensor, nn

from toolchain.models.layers import kaiming_init
from toolchain.models.vgg import CIFAR_PREPROCESS
from toolchain.models.vgg import LABELS as CIFAR_LABELS
from toolchain.models.vgg import SIZE as CIFAR_SIZE
from toolchain.models.zoo import register_model
from toolchain.spec import CLASSIFICATION, ModelSpec, TensorSpec

LABELS = tuple("0123456789")
SIZE = 28


class LeNet(nn.Module):
    """Two convolutions, two poolings, two linear layers.

    Args:
        classes: output classes.
        channels: of the picture: 1 for a grey one, white digit on black, in 0 to 1; 3 for RGB.
        size: side of the picture in pixels, a multiple of 4 from 16 on.
    """

    def __init__(self, classes: int = len(LABELS), channels: int = 1, size: int = SIZE) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 20, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        # Each convolution takes 4 pixels off the side, each pooling halves it.
        left = ((size - 4) // 2 - 4) // 2
        self.classifier = nn.Sequential(
            nn.Linear(50 * left * left, 500), nn.ReLU(inplace=True), nn.Linear(500, classes)
        )
        kaiming_init(self)

    def forward(self, image: Tensor) -> Tensor:
        """(N, channels, size, size) -> logits (N, classes)."""
        return self.classifier(self.features(image))


# Preprocess describes RGB pictures; a grey one is given as an array, already divided by 255.
register_model(
    ModelSpec(
        name="lenet",
        task=CLASSIFICATION,
        inputs=(TensorSpec("image", (1, 1, SIZE, SIZE), layout="NCHW"),),
        outputs=(TensorSpec("logits", (1, len(LABELS)), layout="NC"),),
        labels=LABELS,
        description="handwritten digits, grey 28x28 in 0-1, Caffe's LeNet",
        source="LeNet-5 (LeCun et al. 1998), Caffe's lenet.prototxt",
    )
)(LeNet)

register_model(
    ModelSpec(
        name="lenet-cifar",
        task=CLASSIFICATION,
        inputs=(TensorSpec("image", (1, 3, CIFAR_SIZE, CIFAR_SIZE), layout="NCHW"),),
        outputs=(TensorSpec("logits", (1, len(CIFAR_LABELS)), layout="NC"),),
        preprocess=CIFAR_PREPROCESS,
        labels=CIFAR_LABELS,
        description="CIFAR-10, Caffe's LeNet on 32x32 in colour",
        source="LeNet-5 (LeCun et al. 1998), Caffe's lenet.prototxt",
    ),
    channels=3,
    size=CIFAR_SIZE,
)(LeNet)
