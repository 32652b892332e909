"""COCO pictures with semantic masks, in memory, for some of the categories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch
from torch import Tensor

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.check import MOST_DAMAGED, check_damage
from toolchain.training.datasets.classification import VALIDATION_SEED
from toolchain.training.datasets.coco_classes import CATEGORIES, UNLABELLED, category_ids, category_label
from toolchain.training.datasets.crop import same_shape
from toolchain.training.datasets.decode import decode_index_map, decode_picture
from toolchain.training.datasets.files import Files, open_files
from toolchain.training.datasets.mapping import ClassMapping
from toolchain.training.datasets.pairs import IGNORE, Skipped
from toolchain.training.datasets.partners import partners

TERMS = "trained on COCO 2017: the terms of its pictures and annotations apply (cocodataset.org)"
BACKGROUND = "background"
TRAIN, TEST = "train2017", "val2017"
LAYOUT = f"{TRAIN}|{TEST}/images/NAME.jpg and masks/NAME.png"
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class MaskSplit:
    """Pictures with their label maps.

    Attributes:
        images: (N, 3, size, size) uint8, RGB.
        maps: (N, size, size) uint8: positions in `SegmentationData.labels`, 255 where nothing counts.
    """

    images: Tensor
    maps: Tensor

    def __len__(self) -> int:
        return len(self.maps)


@dataclass(frozen=True)
class SegmentationData:
    """A data set of pictures and label maps.

    Attributes:
        labels: names of the classes, background first.
        train: what is trained on.
        validation: what epochs and networks are chosen on; no picture of it is in `train`.
        test: what the one final figure is measured on.
        description: name and sizes, for cards and reports.
        terms: what may be done with weights that were trained on it.
        skipped: training pictures that are damaged or have no mask, and are in no split.
    """

    labels: tuple[str, ...]
    train: MaskSplit
    validation: MaskSplit
    test: MaskSplit
    description: str = ""
    terms: str = ""
    skipped: tuple[Skipped, ...] = ()


def open_coco(
    path: Path | str, classes: Sequence[str | int], size: int, unlabelled: str = "ignore"
) -> SegmentationData:
    """Pictures and masks of COCO 2017, each stretched to a square as `toolchain export` does it.

    A fifth of the training pictures, the same ones every time, is kept for validation; `val2017` is the test.

    Args:
        path: folder or zip file with `train2017|val2017/images/NAME.jpg` and `masks/NAME.png`, whose values
            are ids of COCO's panoptic categories, 0 where no one has labelled.
        classes: names or ids of categories (Pascal VOC's names will do, too, and are kept); they become
            classes 1, 2, ... in this order, all other categories become class 0, "background".
        size: side in pixels.
        unlabelled: what pixels without a label are: "ignore" (they count neither in the loss nor in a
            figure) or "background".

    Raises:
        UsageError: no such class, nothing there, or a split is missing.
        UnsupportedError: test pictures, or more than a few training pictures, are damaged.
    """
    if unlabelled not in ("ignore", BACKGROUND):
        raise UsageError(f"unlabelled is '{unlabelled}'", "it is ignore or background")
    if size < 1:
        raise UsageError(f"size {size} is not positive", "give the side of the pictures in pixels")
    ids = category_ids(classes)
    table = dict.fromkeys(CATEGORIES, 0) | {number: place for place, number in enumerate(ids, 1)}
    mapping = ClassMapping({**table, UNLABELLED: IGNORE if unlabelled == "ignore" else 0})
    with open_files(Path(path)) as files:
        train, skipped = _read(files, TRAIN, mapping, size, MOST_DAMAGED)
        test, _ = _read(files, TEST, mapping, size, 0.0)
    order = np.random.default_rng(VALIDATION_SEED).permutation(len(train))
    count = max(1, round(VALIDATION_SHARE * len(train)))
    if len(train) < 2:
        raise UnsupportedError(f"'{path}' has one training picture", "validation needs one, too")
    chosen, rest = (torch.from_numpy(np.sort(part)) for part in (order[:count], order[count:]))
    return SegmentationData(
        labels=(BACKGROUND, *(category_label(name) for name in classes)),
        train=MaskSplit(train.images[rest], train.maps[rest]),
        validation=MaskSplit(train.images[chosen], train.maps[chosen]),
        test=test,
        description=f"COCO 2017, {len(rest)} training and {count} validation pictures",
        terms=TERMS,
        skipped=skipped,
    )


def _read(
    files: Files, split: str, mapping: ClassMapping, size: int, most_damaged: float
) -> tuple[MaskSplit, tuple[Skipped, ...]]:
    pictures, masks = (_stems(files.names(), f"{split}/{folder}/") for folder in ("images", "masks"))
    names, alone = partners(pictures, masks)
    if not names:
        raise UsageError(f"'{files.path}' has no pictures and masks of '{split}'", f"the layout is {LAYOUT}")

    def pair(name: str) -> tuple[np.ndarray, np.ndarray] | UnsupportedError:
        try:
            return _pair(files, pictures[name], masks[name], mapping, size)
        except UnsupportedError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(pair, names))
    damaged = [
        Skipped(name, entry.message)
        for name, entry in zip(names, found, strict=True)
        if isinstance(entry, UnsupportedError)
    ]
    check_damage([*alone, *damaged], len(names) + len(alone), split, most_damaged)
    good = [entry for entry in found if isinstance(entry, tuple)]
    images, maps = (torch.from_numpy(np.stack(part)) for part in zip(*good, strict=True))
    return MaskSplit(images, maps), (*alone, *damaged)


def _pair(
    files: Files, picture_name: str, mask_name: str, mapping: ClassMapping, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """(3, size, size) and (size, size), both uint8."""
    picture = decode_picture(files.content(picture_name), files.where(picture_name))
    where = files.where(mask_name)
    mask = mapping.apply(decode_index_map(files.content(mask_name), where), where)
    mask = same_shape(picture, mask, files.where(picture_name))
    shrinks = picture.shape[0] > size
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)), mask


def _stems(names: Sequence[str], start: str) -> dict[str, str]:
    return {PurePosixPath(name).stem: name for name in names if name.startswith(start)}
