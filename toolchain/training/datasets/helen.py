"""Helen with the segment labels of Smith et al. (CVPR 2013): SmithCVPR2013_dataset_resized."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.crop import CroppedPairs
from toolchain.training.datasets.decode import decode_index_map, decode_picture, file_bytes
from toolchain.training.datasets.mapping import numbered
from toolchain.training.datasets.pairs import Skipped
from toolchain.training.datasets.partners import files_by_stem
from toolchain.training.datasets.sides import measured_sides

LISTS = {"train": "exemplars.txt", "val": "tuning.txt", "test": "testing.txt"}

# Label number of the authors' README -> class: background, face skin without ears and neck, left and right
# brow, left and right eye, nose, upper lip, inner mouth, lower lip, hair. The README does not say whose left
# is meant: see `sides`.
CLASS_OF_LABEL = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0)


class Helen(CroppedPairs):
    """Pairs from `images/NAME.jpg` and the probability maps `labels/NAME/NAME_lbl00.png` to `_lbl10.png`.

    The lists are the published ones, lines of "number , name": exemplars.txt (2,000) is "train", tuning.txt
    (230) is "val", and testing.txt (100) is "test", on which the published figures are quoted. A pixel
    belongs to the most probable label, the lowest of equal ones. Hair is background here.

    Args:
        path: the folder.
        split: "train", "val" or "test".
        size: side in pixels of the face crops.

    Raises:
        UsageError: there is no such folder or list.
        UnsupportedError: the label maps do not tell left from right, or a pair is damaged.
    """

    description = "Helen (segment labels of Smith et al. 2013)"
    terms = (
        "trained on Helen, pictures from Flickr that were published for research: these weights are for "
        "research use, and the rights in the pictures remain with their photographers"
    )

    def __init__(self, path: Path | str, split: str, size: int) -> None:
        self.path = Path(path)
        self.size = size
        self.random = split == "train"
        listed = _listed(self.path / LISTS[split])
        self._pictures = files_by_stem(self.path / "images")
        missing = {name: _missing(self.path, name, self._pictures) for name in listed}
        self.names = sorted(name for name in listed if not missing[name])
        self.skipped = tuple(Skipped(name, missing[name]) for name in sorted(listed) if missing[name])
        if not self.names:
            first = f": '{self.skipped[0].name}' has {self.skipped[0].reason}" if self.skipped else ""
            raise UsageError(f"'{self.path}' has no whole pairs of {LISTS[split]}{first}")
        mapping = numbered(CLASS_OF_LABEL)
        sides = measured_sides(len(self.names), lambda index: self._label(self.names[index]), str(self.path))
        self._mapping = mapping if sides else mapping.mirrored()

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole picture and its label map."""
        name = self.names[index]
        source = self._pictures[name]
        label = self._mapping.apply(self._label(name), f"'{name}'")
        return decode_picture(file_bytes(source), f"'{source}'"), label

    def _label(self, name: str) -> np.ndarray:
        """(height, width) uint8: number of the most probable label."""
        best: np.ndarray | None = None
        label: np.ndarray | None = None
        for number, path in enumerate(_maps(self.path, name)):
            map_ = decode_index_map(file_bytes(path), f"'{path}'")
            if best is None or label is None:
                best, label = map_.copy(), np.zeros_like(map_)
                continue
            if map_.shape != best.shape:
                raise UnsupportedError(f"'{path}' has another size than the other maps of the picture")
            label[map_ > best] = number
            np.maximum(best, map_, out=best)
        assert label is not None
        return label


def _maps(folder: Path, name: str) -> list[Path]:
    return [folder / "labels" / name / f"{name}_lbl{number:02d}.png" for number in range(len(CLASS_OF_LABEL))]


def _missing(folder: Path, name: str, pictures: dict[str, Path]) -> str:
    """What a pair lacks; "" when it is whole."""
    if name not in pictures:
        return "no picture"
    maps = _maps(folder, name)
    if not maps[0].parent.is_dir():
        return "no label maps"
    there = set(os.listdir(maps[0].parent))
    absent = [path.name for path in maps if path.name not in there]
    return f"no {absent[0]}" if absent else ""


def _listed(path: Path) -> set[str]:
    if not path.is_file():
        raise UsageError(f"no list '{path}'", "give the folder SmithCVPR2013_dataset_resized: helen:PATH")
    names = set()
    for count, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        number, comma, name = (part.strip() for part in line.partition(","))
        # A name is one of a file beside the list, never a way out of the folder.
        if not comma or not number.isdecimal() or not name or Path(name).name != name:
            raise UnsupportedError(f"line {count} of '{path}' is not 'number , name'")
        names.add(name)
    return names
