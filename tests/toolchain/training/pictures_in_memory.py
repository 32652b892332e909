"""Small labelled pictures that a small network learns within seconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.spec import CLASSIFICATION, SEGMENTATION, ModelSpec, Preprocess, TensorSpec
from toolchain.training.datasets.classification import ClassificationData, Split
from toolchain.training.datasets.coco import MaskSplit, SegmentationData

SIDE = 8
LABELS = ("across", "down")
SPEC = ModelSpec(
    name="tiny",
    task=CLASSIFICATION,
    inputs=(TensorSpec("image", (1, 3, SIDE, SIDE), layout="NCHW"),),
    outputs=(TensorSpec("logits", (1, 2), layout="NC"),),
    preprocess=Preprocess(mean=(100.0, 120.0, 140.0), std=(50.0, 60.0, 70.0)),
    labels=LABELS,
)
SEGMENTER_SPEC = ModelSpec(
    name="tiny-masks",
    task=SEGMENTATION,
    inputs=SPEC.inputs,
    outputs=(TensorSpec("logits", (1, 3, SIDE, SIDE), layout="NCHW"),),
    preprocess=SPEC.preprocess,
    labels=("background", "dark", "light"),
    palette=((0, 0, 0), (255, 0, 0), (0, 255, 0)),
)


class Tiny(nn.Module):
    """A convolution, batch normalization, dropout, a linear layer."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(8 * 16, classes))

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image))


class TinySegmenter(nn.Module):
    """Two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image))


def seeded(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return kind()


def stripes(count: int, seed: int) -> Split:
    """Noise with bright stripes across or down."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 120, (count, 3, SIDE, SIDE), generator=random)
    targets = torch.arange(count) % 2
    on = (torch.arange(SIDE) % 2).view(1, 1, SIDE, 1) * 60
    across = (targets == 0).view(-1, 1, 1, 1)
    return Split((images + torch.where(across, on, on.transpose(2, 3))).byte(), targets)


def classification_data() -> ClassificationData:
    return ClassificationData(
        LABELS, stripes(48, 1), stripes(24, 2), stripes(40, 3), description="stripes", terms="for tests"
    )


def masks(count: int, seed: int) -> MaskSplit:
    """A dark and a light half in a grey frame, whose outermost pixels no one has labelled."""
    random = torch.Generator().manual_seed(seed)
    images = torch.full((count, 3, SIDE, SIDE), 120)
    maps = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
    images[:, :, 2:6, 2:4], maps[:, 2:6, 2:4] = 20, 1
    images[:, :, 2:6, 4:6], maps[:, 2:6, 4:6] = 220, 2
    maps[:, 0], maps[:, -1] = 255, 255
    images = images + torch.randint(-15, 16, images.shape, generator=random)
    return MaskSplit(images.byte(), maps)


def segmentation_data() -> SegmentationData:
    return SegmentationData(
        SEGMENTER_SPEC.labels, masks(24, 1), masks(8, 2), masks(8, 3), description="halves"
    )
