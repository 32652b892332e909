"""Folders or a zip file of pictures, one folder a class, decoded into memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.check import MOST_DAMAGED, check_damage
from toolchain.training.datasets.classification import Split
from toolchain.training.datasets.decode import PICTURE_SUFFIXES, decode_picture
from toolchain.training.datasets.files import Files, open_files
from toolchain.training.datasets.pairs import Skipped

TRAIN, VALIDATION, TEST = "train", ("validation", "val"), "test"
LAYOUT = "train|validation|test/CLASS/*.jpg"

# Split to class to names of its pictures.
Tree = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class ReadSplits:
    """What a folder or zip file holds.

    Attributes:
        labels: names of the classes, sorted.
        train: training pictures.
        validation: validation pictures, None where the data leaves them to be taken from the training ones.
        test: test pictures.
        skipped: damaged training pictures.
    """

    labels: tuple[str, ...]
    train: Split
    validation: Split | None
    test: Split
    skipped: tuple[Skipped, ...]


def read_splits(path: Path, size: int | None) -> ReadSplits:
    """All pictures below `path`, RGB.

    Args:
        path: a folder or a zip file, see `LAYOUT`.
        size: side in pixels to bring pictures to; None where all have one size.

    Raises:
        UsageError: nothing there, a split or class is missing, or pictures differ in size.
        UnsupportedError: no zip file; damaged pictures, see `open_classification`.
    """
    with open_files(path) as files:
        tree = _tree(files.names())
        if TRAIN not in tree:
            raise UsageError(f"'{path}' holds no pictures {TRAIN}/CLASS/*.jpg", f"the layout is {LAYOUT}")
        middle = next((name for name in VALIDATION if name in tree), None)
        last = TEST if TEST in tree else middle
        if last is None:
            raise UsageError(f"'{path}' has no test pictures", f"the layout is {LAYOUT}")
        labels = tuple(sorted(tree[TRAIN]))
        reader = _Reader(files, labels, size)
        train, skipped = reader.read(tree, TRAIN, MOST_DAMAGED)
        test, _ = reader.read(tree, last, 0.0)
        has_own = middle is not None and middle != last
        validation = reader.read(tree, middle, 0.0)[0] if middle is not None and has_own else None
    return ReadSplits(labels, train, validation, test, skipped)


def _tree(names: list[str]) -> Tree:
    found: Tree = {}
    for name in sorted(names):
        parts = PurePosixPath(name).parts
        if len(parts) == 3 and name.lower().endswith(PICTURE_SUFFIXES):
            found.setdefault(parts[0], {}).setdefault(parts[1], []).append(name)
    return found


class _Reader:
    """Decodes splits; the first picture says the size where none is asked for."""

    def __init__(self, files: Files, labels: tuple[str, ...], size: int | None) -> None:
        self.files, self.labels = files, labels
        self.stretched = size is not None
        self.sizes = (size, size) if size is not None else None

    def read(self, tree: Tree, split: str, most_damaged: float) -> tuple[Split, tuple[Skipped, ...]]:
        """Pictures of a split in the order of class and name, and those left out."""
        if set(tree[split]) != set(self.labels):
            odd = sorted(set(tree[split]) ^ set(self.labels))
            raise UsageError(
                f"class '{odd[0]}' is not in both '{TRAIN}' and '{split}' of '{self.files.path}'",
                "every class needs pictures in every split",
            )
        names = [name for label in self.labels for name in tree[split][label]]
        numbers = [number for number, label in enumerate(self.labels) for _ in tree[split][label]]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(pool.map(self._try, names))
        damaged = tuple(
            Skipped(name, entry.message)
            for name, entry in zip(names, found, strict=True)
            if isinstance(entry, UnsupportedError)
        )
        check_damage(damaged, len(names), split, most_damaged)
        good = [index for index, entry in enumerate(found) if isinstance(entry, np.ndarray)]
        pictures = [entry for entry in found if isinstance(entry, np.ndarray)]
        self._check_sizes(names, found, good)
        images = torch.from_numpy(np.stack(pictures))
        return Split(images, torch.tensor([numbers[index] for index in good])), damaged

    def _try(self, name: str) -> np.ndarray | UnsupportedError:
        """(3, H, W) uint8, or what is wrong."""
        try:
            picture = decode_picture(self.files.content(name), f"'{name}' in '{self.files.path}'")
        except UnsupportedError as error:
            return error
        if self.stretched and picture.shape[:2] != self.sizes:
            assert self.sizes is not None
            shrinks = picture.shape[0] > self.sizes[0]
            picture = cv2.resize(
                picture, self.sizes, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            )
        return np.ascontiguousarray(picture.transpose(2, 0, 1))

    def _check_sizes(
        self, names: list[str], found: list[np.ndarray | UnsupportedError], good: list[int]
    ) -> None:
        for index in good:
            picture = found[index]
            assert isinstance(picture, np.ndarray)
            sizes = (picture.shape[1], picture.shape[2])
            self.sizes = self.sizes or sizes
            if sizes != self.sizes:
                raise UsageError(
                    f"'{names[index]}' in '{self.files.path}' has {sizes[1]} x {sizes[0]} pixels, others"
                    f" {self.sizes[1]} x {self.sizes[0]}",
                    "say to which size they are to be brought: --size",
                )
