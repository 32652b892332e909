"""Training of segmenters that take one picture, judged by mean intersection over union."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from toolchain.errors import UsageError
from toolchain.spec import SEGMENTATION, ModelSpec
from toolchain.training.card import calibration_on, spread, training_figures, write_weights
from toolchain.training.classification_augment import moved, recoloured
from toolchain.training.classification_module import as_inputs, scheduled
from toolchain.training.classification_settings import ClassifierSettings
from toolchain.training.datasets.coco import MaskSplit, SegmentationData
from toolchain.training.loading import seed_step
from toolchain.training.losses import FaceParsingLoss, LossSettings
from toolchain.training.memory_fit import FitOptions, Tensors, fit_in_memory
from toolchain.training.metrics import confusion_matrix
from toolchain.training.module import TrainedModule

MEASURED_AT_ONCE = 8

# Pictures (N, C, H, W) as the network takes them, logits (N, classes, H, W) in float32, label maps (N, H, W)
# int64 with 255 where nothing counts -> the terms of a loss, of which "loss" is the sum.
SegmentationLoss = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Overlap:
    """Intersection over union in percent.

    Attributes:
        per_class: of every class; 100 for a class that occurs neither in the truth nor in the prediction.
        mean: over the classes that occur in either, background included.
        pixel_accuracy: share of the known pixels with the right class.
    """

    per_class: tuple[float, ...]
    mean: float
    pixel_accuracy: float


@dataclass(frozen=True)
class SegmenterResult:
    """A trained segmenter.

    Attributes:
        best_epoch: the epoch with the highest mean IoU on the validation pictures, the first such, from 1 on.
        validation: overlap of its weights, in float32.
        test: the same on the test pictures; nothing was chosen by it.
        weights: the file with its weights; the card lies beside it.
        card: content of the card.
    """

    best_epoch: int
    validation: Overlap
    test: Overlap
    weights: Path
    card: dict[str, Any] = field(repr=False)


def overlap_of(confusion: Tensor) -> Overlap:
    """Figures of a confusion matrix (classes, classes), rows true classes."""
    matrix = confusion.double()
    hits, union = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    present = union > 0
    iou = torch.where(present, 100 * hits / union.clamp(min=1), 100.0)
    total = float(matrix.sum())
    return Overlap(
        per_class=tuple(iou.tolist()),
        mean=float(iou[present].mean()) if bool(present.any()) else 100.0,
        pixel_accuracy=100 * float(hits.sum()) / total if total else 100.0,
    )


@torch.no_grad()
def measure_overlap(network: nn.Module, split: MaskSplit, spec: ModelSpec) -> Overlap:
    """Overlap of a segmenter's answers with the truth, in float32 on the device of the network.

    Args:
        network: it is left in the mode in which it was.
        split: what it is measured on.
        spec: its contract.
    """
    device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
    was_training, classes = network.training, spec.outputs[0].shape[1]
    network.eval()
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for start in range(0, len(split), MEASURED_AT_ONCE):
        part = slice(start, start + MEASURED_AT_ONCE)
        found = network(as_inputs(split.images[part].to(device), spec)).argmax(1).cpu()
        confusion += confusion_matrix(found, split.maps[part].long(), classes)
    network.train(was_training)
    return overlap_of(confusion)


class Segmenter(TrainedModule):
    """Training of a segmenter. After each validation `mean_iou` and `pixel_accuracy` (percent) are logged.

    Args:
        network: its forward takes pictures in its own range and gives logits of the same size.
        settings: optimizer, schedule and augmentation.
        spec: its contract.
        seed: every step's random numbers are made of it, the epoch and the step.
        loss: instead of cross entropy plus soft Dice.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: ClassifierSettings,
        spec: ModelSpec,
        seed: int = 0,
        loss: SegmentationLoss | None = None,
    ) -> None:
        super().__init__()
        if settings.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.settings, self.spec, self.seed = network, settings, spec, seed
        self.own_loss = FaceParsingLoss(LossSettings())
        self.loss = loss or self._own_loss
        self.mean_iou = 0.0
        classes = spec.outputs[0].shape[1]
        self._confusion = torch.zeros(classes, classes, dtype=torch.int64)

    def forward(self, image: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in the range of the network -> logits (N, classes, H, W)."""
        if self.settings.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return self.network(image)

    def training_step(self, batch: Tensors, index: int) -> dict[str, Tensor]:
        """Terms of the loss of one augmented batch.

        Raises:
            ToolchainError: the loss is not finite.
        """
        seed_step(self.seed, self.current_epoch, index)
        settings = self.settings.augment
        with torch.autocast(self.device.type, enabled=False):
            images, maps = moved(batch[0], batch[1], settings)
            assert maps is not None
            images = as_inputs(recoloured(images, settings.colour) if settings.colour else images, self.spec)
        logits = self(images)
        with torch.autocast(self.device.type, enabled=False):
            terms = self.loss(images, logits.float(), maps.long())
        if not torch.isfinite(terms["loss"]):
            raise self.no_number(f"the loss is no finite number ({float(terms['loss']):g})", index)
        return terms

    def validation_step(self, batch: Tensors, _index: int) -> None:
        """Count a batch."""
        found = self(as_inputs(batch[0], self.spec)).argmax(1)
        self._confusion += confusion_matrix(found.cpu(), batch[1].cpu().long(), len(self._confusion))

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the epoch."""
        overlap = overlap_of(self._confusion)
        self.mean_iou = overlap.mean
        self.log("mean_iou", overlap.mean, prog_bar=True)
        self.log("pixel_accuracy", overlap.pixel_accuracy)
        self._confusion.zero_()

    def verdict(self) -> str:
        """The mean IoU of the last validation."""
        return f"validation mean IoU {self.mean_iou:.2f} %"

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer and schedule of the settings; the learning rate changes after every step."""
        return scheduled(self, self.settings)

    def _own_loss(self, _images: Tensor, logits: Tensor, maps: Tensor) -> dict[str, Tensor]:
        return self.own_loss(logits, maps)


def fit_segmenter(
    network: nn.Module,
    data: SegmentationData,
    options: FitOptions,
    *,
    spec: ModelSpec,
    loss: SegmentationLoss | None = None,
    name: str = "",
    command: str = "",
    calibrate: bool = True,
    more: Mapping[str, Any] | None = None,
) -> SegmenterResult:
    """Train, and write `NAME.safetensors` with its card `NAME.json` into the output folder.

    The epoch is chosen on the validation pictures; the test pictures are measured once, with its weights.

    Args:
        network: what is trained, in place; afterwards it is on the CPU with the weights of the best epoch.
        data: pictures and label maps; their classes are those of the contract.
        options: the run.
        spec: contract of the network, which has one input.
        loss: instead of cross entropy plus soft Dice.
        name: of the written files, else that of the contract; the card's "model" is the contract's.
        command: the command line, for the card.
        calibrate: measure the ranges for int8 that the card holds; it exports the network to ONNX.
        more: further entries of the card.

    Raises:
        UsageError: network and data do not fit; nothing to resume, another run, or one that would be lost.
        ToolchainError: the loss or the weights became NaN or infinite; the last good checkpoint is kept.
    """
    check_segmenter(spec, data)
    identity = {"model": spec.name, "labels": list(data.labels), **options.identity}
    module = Segmenter(network, options.settings, spec, options.seed, loss)
    splits = [(split.images, split.maps) for split in (data.train, data.validation)]
    fitted = fit_in_memory(module, splits[0], splits[1], "mean_iou", replace(options, identity=identity))
    network.eval()
    found = {split: measure_overlap(network, getattr(data, split), spec) for split in ("validation", "test")}
    pictures = [picture.float() for picture in spread(data.train.images)]
    card = {
        "model": spec.name,
        "labels": list(data.labels),
        "data": data.description,
        "pictures": len(data.train),
        "skipped": [{"name": entry.name, "reason": entry.reason} for entry in data.skipped],
        "terms": data.terms,
        "command": command,
        "seed": options.seed,
        "epochs": options.settings.epochs,
        "recipe": options.settings.as_json(),
        "parameters": sum(p.numel() for p in network.parameters()),
        "figures": _figures(found, data),
        **(more or {}),
        **({"calibration": calibration_on(pictures, network, spec)} if calibrate else {}),
        "training": training_figures(fitted.total, fitted.best_epoch, fitted.precision),
    }
    name = name or spec.name
    write_weights(options.output, name, network, card)
    return SegmenterResult(
        fitted.best_epoch + 1,
        found["validation"],
        found["test"],
        options.output / f"{name}.safetensors",
        card,
    )


def check_segmenter(spec: ModelSpec, data: SegmentationData) -> None:
    """Refuse a network that cannot be trained on these data.

    Raises:
        UsageError: it is no segmenter of single pictures, or has other classes or another size.
    """
    if spec.task != SEGMENTATION or len(spec.inputs) != 1 or spec.preprocess is None:
        raise UsageError(
            f"'{spec.name}' is no segmenter that takes one picture", "`toolchain models` lists them"
        )
    if spec.labels != data.labels:
        raise UsageError(
            f"'{spec.name}' has other classes than the data",
            f"the network's are {', '.join(spec.labels)}; the data's {', '.join(data.labels)}",
        )
    sizes, given = spec.inputs[0].shape[2:], tuple(data.train.images.shape[2:])
    if sizes != given:
        raise UsageError(f"'{spec.name}' takes {sizes[1]} x {sizes[0]} pixels, not {given[1]} x {given[0]}")


def _figures(found: Mapping[str, Overlap], data: SegmentationData) -> dict[str, Any]:
    return {
        "protocol": f"percent of {len(data.validation)} validation pictures, by which the epoch was chosen,"
        f" and of {len(data.test)} test pictures, float32",
        **{f"{split}_mean_iou": round(overlap.mean, 2) for split, overlap in found.items()},
        **{f"{split}_pixel_accuracy": round(overlap.pixel_accuracy, 2) for split, overlap in found.items()},
        "test_per_class_iou": dict(
            zip(data.labels, (round(iou, 2) for iou in found["test"].per_class), strict=True)
        ),
    }
