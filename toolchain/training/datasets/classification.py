"""Labelled pictures in memory: what classifiers are trained, chosen and judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.pairs import Skipped
from toolchain.training.datasets.schemes import CLASSIFICATION_SCHEMES, schemes

# Validation pictures are drawn with this seed, whatever the seed of a training: all trainings on a data set
# are chosen on the same pictures.
VALIDATION_SEED = 0
# Share of each class of the training pictures; more of a small data set, where a tenth says too little.
VALIDATION_SHARE, SMALL_SHARE, SMALL = 0.1, 0.2, 10_000


@dataclass(frozen=True)
class Split:
    """Pictures with their classes.

    Attributes:
        images: (N, channels, H, W) uint8; one grey channel or RGB.
        targets: (N,) int64, positions in `ClassificationData.labels`.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: Tensor) -> Split:
        """The pictures at (n,) int64 positions, in that order."""
        return Split(self.images[indices], self.targets[indices])


@dataclass(frozen=True)
class ClassificationData:
    """A data set of labelled pictures.

    Attributes:
        labels: names of the classes.
        train: what is trained on.
        validation: what epochs and networks are chosen on; no picture of it is in `train`.
        test: what the one final figure is measured on.
        description: name and sizes, for cards and reports.
        terms: what may be done with weights that were trained on it; "" when none are known.
        skipped: training pictures that are damaged, and in no split.
    """

    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    description: str = ""
    terms: str = ""
    skipped: tuple[Skipped, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, H, W) of every picture."""
        return tuple(self.train.images.shape[1:])

    def ordered(self, labels: Sequence[str]) -> ClassificationData:
        """Only the pictures of these classes, which are numbered in this order.

        Raises:
            UsageError: a class does not exist, is named twice, or there is none.
        """
        for label in labels:
            if label not in self.labels:
                raise UsageError(f"no class '{label}' in the data", f"classes are {', '.join(self.labels)}")
        if not labels or len(set(labels)) != len(labels):
            raise UsageError(f"classes {', '.join(labels) or '(none)'}: each once, and at least one")
        table = torch.full((len(self.labels),), -1)
        for number, label in enumerate(labels):
            table[self.labels.index(label)] = number
        splits: dict[str, Any] = {
            name: _renumbered(getattr(self, name), table) for name in ("train", "validation", "test")
        }
        return replace(self, labels=tuple(labels), **splits)


def open_classification(
    data: str, size: int | None = None, validation_share: float | None = None
) -> ClassificationData:
    """The labelled pictures that `data` names, decoded once and held in memory.

    Args:
        data: "mnist:FOLDER" (the four idx files), or "images:PATH" of a folder or zip file that holds
            `train|validation|test/CLASS/*.jpg` (or .png); `val` is as good as `validation`. Without `test`
            the pictures in `validation` are the test pictures.
        size: side in pixels that "images" are brought to, the whole picture stretched as `toolchain export`
            does it with calibration pictures; None where all have the same size.
        validation_share: share (0-1) of each class that is taken out of the training pictures for
            validation, where the data does not come with a split of its own; None for 0.1, or 0.2 below
            10,000 training pictures. Which ones depends on nothing but the data.

    Raises:
        UsageError: unknown scheme, nothing there, splits or classes are missing, sizes differ.
        UnsupportedError: a validation or test picture is damaged, or more than a few training pictures.
    """
    scheme, colon, what = data.partition(":")
    if colon and scheme in schemes and scheme not in CLASSIFICATION_SCHEMES:
        raise UsageError(
            f"'{data}' has classes of pixels, not of pictures",
            "`toolchain train face-parsing` takes it; classifiers take mnist:FOLDER or images:PATH",
        )
    if not colon or not what or scheme not in CLASSIFICATION_SCHEMES:
        raise UsageError(
            f"data '{data}' is neither mnist:FOLDER nor images:PATH", "for example images:cats_dogs_128.zip"
        )
    if size is not None and size < 1:
        raise UsageError(f"size {size} is not positive", "give the side of the pictures in pixels")
    if validation_share is not None and not 0 < validation_share < 1:
        raise UsageError(f"validation share {validation_share} is not between 0 and 1")
    opener = _mnist if scheme == "mnist" else _images
    return opener(Path(what), size, validation_share)


def carve(train: Split, share: float | None = None) -> tuple[Split, Split]:
    """Training and validation pictures out of a training split: the same share of each class.

    Args:
        train: the whole split.
        share: of each class, see `open_classification`.

    Raises:
        UnsupportedError: a class has a single picture.
    """
    if share is None:
        share = SMALL_SHARE if len(train) < SMALL else VALIDATION_SHARE
    targets = train.targets.numpy()
    chosen = np.zeros(len(targets), bool)
    for number in np.unique(targets):
        members = np.flatnonzero(targets == number)
        if len(members) < 2:
            raise UnsupportedError(
                f"class number {number} has one training picture", "validation needs one, too: add pictures"
            )
        count = min(len(members) - 1, max(1, round(share * len(members))))
        random = np.random.default_rng((VALIDATION_SEED, int(number)))
        chosen[random.permutation(members)[:count]] = True
    return train.take(torch.from_numpy(np.flatnonzero(~chosen))), train.take(
        torch.from_numpy(np.flatnonzero(chosen))
    )


def _mnist(folder: Path, size: int | None, share: float | None) -> ClassificationData:
    from toolchain.benchmarks.int8_pictures import TEST, TRAIN, mnist

    splits = []
    for name in (TRAIN, TEST):
        pictures = mnist(folder, name)
        splits.append(Split(torch.from_numpy(pictures.pixels.copy()), torch.from_numpy(pictures.labels)))
    side = splits[0].images.shape[-1]
    if size not in (None, side):
        raise UsageError(f"MNIST has {side} pixels a side, not {size}", "leave --size out")
    train, validation = carve(splits[0], share)
    labels = tuple(str(number) for number in range(10))
    return ClassificationData(labels, train, validation, splits[1], _described("MNIST", train, validation))


def _images(path: Path, size: int | None, share: float | None) -> ClassificationData:
    from toolchain.training.datasets.classification_pictures import read_splits

    found = read_splits(path, size)
    train, validation = found.train, found.validation
    if validation is None:
        train, validation = carve(train, share)
    return ClassificationData(
        found.labels,
        train,
        validation,
        found.test,
        _described(path.stem, train, validation),
        skipped=found.skipped,
    )


def _described(name: str, train: Split, validation: Split) -> str:
    return f"{name}, {len(train):,} training and {len(validation):,} validation pictures"


def _renumbered(split: Split, table: Tensor) -> Split:
    targets = table[split.targets]
    kept = targets >= 0
    if bool(kept.all()):
        return Split(split.images, targets)
    return Split(split.images[kept], targets[kept])
