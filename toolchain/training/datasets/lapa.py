"""LaPa (Liu et al., AAAI 2020): a landmark-guided face parsing dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toolchain.errors import UsageError
from toolchain.training.datasets.crop import CroppedPairs
from toolchain.training.datasets.decode import decode_index_map, decode_picture, file_bytes
from toolchain.training.datasets.mapping import numbered
from toolchain.training.datasets.partners import files_by_stem, partners
from toolchain.training.datasets.sides import measured_sides

# Index -> class: background, skin, left and right brow, left and right eye, nose, upper lip, inner mouth,
# lower lip, hair. Its authors do not say whose left is meant: see `sides`.
CLASS_OF_INDEX = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0)


class LaPa(CroppedPairs):
    """Pairs from `SPLIT/images/NAME.jpg` and `SPLIT/labels/NAME.png` (index 0-10); landmarks are not used.

    Args:
        path: the folder LaPa.
        split: "train", "val" or "test".
        size: side in pixels of the face crops.

    Raises:
        UsageError: there is no such folder, or nothing in it.
        UnsupportedError: the label maps do not tell left from right, or a pair is damaged.
    """

    description = "LaPa"
    terms = (
        "trained on LaPa, which is for non-commercial purposes such as research and teaching: these weights "
        "must not be used commercially"
    )

    def __init__(self, path: Path | str, split: str, size: int) -> None:
        self.path = Path(path)
        self.size = size
        self.random = split == "train"
        for part in ("images", "labels"):
            if not (self.path / split / part).is_dir():
                raise UsageError(
                    f"'{self.path}' has no folder {split}/{part}", "give the folder LaPa: lapa:PATH"
                )
        self._pictures = files_by_stem(self.path / split / "images")
        self._labels = files_by_stem(self.path / split / "labels", (".png",))
        self.names, self.skipped = partners(self._pictures, self._labels)
        if not self.names:
            raise UsageError(f"'{self.path / split}' has no pairs images/*.jpg with labels/*.png")
        mapping = self._mapping = numbered(CLASS_OF_INDEX)
        if not measured_sides(len(self.names), self._label, str(self.path)):
            self._mapping = mapping.mirrored()

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole picture and its label map."""
        source = self._pictures[self.names[index]]
        return decode_picture(file_bytes(source), f"'{source}'"), self._label(index)

    def _label(self, index: int) -> np.ndarray:
        source = self._labels[self.names[index]]
        return self._mapping.apply(decode_index_map(file_bytes(source), f"'{source}'"), f"'{source}'")
