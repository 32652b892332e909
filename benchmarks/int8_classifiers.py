"""Small classifiers that are trained in minutes, for int8 figures: random weights say nothing about int8.

`lenet` is the zoo's. `mobilenetv2_cifar` is the zoo's MobileNetV2 at half width for the ten classes of
CIFAR-10 at 64 pixels, for the command line:

    toolchain export toolchain.benchmarks.int8_classifiers:mobilenetv2_cifar --weights FILE
"""

from __future__ import annotations

from torch import nn

from toolchain.models.mobilenetv2 import MobileNetV2
from toolchain.models.vgg import CIFAR_PREPROCESS
from toolchain.models.vgg import LABELS as CIFAR_LABELS
from toolchain.models.zoo import ModelEntry, zoo
from toolchain.spec import CLASSIFICATION, ModelSpec, TensorSpec

LENET, MOBILENETV2 = "lenet", "mobilenetv2-cifar"
SIZE = 64
WIDTH = 0.5


def classifier(name: str) -> ModelEntry:
    """Contract and factory of a classifier; `ModelEntry.build` makes it untrained.

    Raises:
        UsageError: an unknown name.
    """
    return _mobilenetv2_entry() if name == MOBILENETV2 else zoo().get(name)


def mobilenetv2_cifar() -> tuple[nn.Module, ModelSpec]:
    """The untrained network and its contract, for the command line."""
    entry = _mobilenetv2_entry()
    return entry.build(), entry.spec


def _mobilenetv2_entry() -> ModelEntry:
    spec = ModelSpec(
        name=MOBILENETV2,
        task=CLASSIFICATION,
        inputs=(TensorSpec("image", (1, 3, SIZE, SIZE), layout="NCHW"),),
        outputs=(TensorSpec("logits", (1, len(CIFAR_LABELS)), layout="NC"),),
        preprocess=CIFAR_PREPROCESS,
        labels=CIFAR_LABELS,
        description=f"CIFAR-10 from JPEG, MobileNetV2, width {WIDTH:g}, {SIZE} px",
        source="MobileNetV2, arXiv:1801.04381",
    )
    return ModelEntry(spec, MobileNetV2, {"width": WIDTH, "classes": len(CIFAR_LABELS)})
