"""CelebAMask-HQ (arXiv:1907.11922) as pairs of picture and face-parsing label map."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.pairs import IGNORE, FacePairs

SPLITS = ("train", "val")

# CelebAMask-HQ index -> class of toolchain.models.faces.LABELS. Glasses hide what lies below them, so
# they are ignored; ears, hair, hat, earring, necklace, neck and cloth are background.
CLASS_OF_INDEX = (0, 1, 6, IGNORE, 4, 5, 2, 3, 0, 0, 8, 7, 9, 0, 0, 0, 0, 0, 0)


def index_lookup() -> np.ndarray:
    """(256,) uint8 table from CelebAMask-HQ index to class, 254 for an unknown index."""
    table = np.full(256, 254, dtype=np.uint8)
    table[: len(CLASS_OF_INDEX)] = CLASS_OF_INDEX
    return table


class CelebAMask(FacePairs):
    """Pairs from a zip of `SPLIT/images/NAME.jpg` and `SPLIT/labels/NAME.png` (index 0-18).

    An item is the picture as uint8 (3, size, size) RGB and the label map as uint8 (size, size), with 255
    where neither loss nor metric counts.

    Args:
        path: the zip file.
        split: "train" or "val".
        size: side in pixels that pictures (area) and labels (nearest) are resized to.

    Raises:
        UsageError: there is no such file or split.
        UnsupportedError: the file is not a zip, or a pair in it is damaged.
    """

    description = "CelebAMask-HQ subset"
    terms = (
        "trained on CelebAMask-HQ, which is for non-commercial research: these weights are for "
        "research use, and must not be used commercially"
    )

    def __init__(self, path: Path | str, split: str, size: int) -> None:
        self.path = Path(path)
        self.size = size
        self._archive: zipfile.ZipFile | None = None
        self._lookup = index_lookup()
        if not self.path.is_file():
            raise UsageError(
                f"no data at '{self.path}'", "give the path of celebamask_hq_256.zip: celebamask:PATH"
            )
        try:
            with zipfile.ZipFile(self.path) as archive:
                found = set(archive.namelist())
        except zipfile.BadZipFile as error:
            raise UnsupportedError(f"'{self.path}' is not a zip file", "download it again") from error
        self.names = sorted(
            Path(name).stem
            for name in found
            if name.startswith(f"{split}/images/")
            and name.endswith(".jpg")
            and f"{split}/labels/{Path(name).stem}.png" in found
        )
        if not self.names:
            raise UsageError(
                f"'{self.path}' has no pairs {split}/images/*.jpg with {split}/labels/*.png",
                f"splits are {', '.join(SPLITS)}",
            )
        self.split = split

    def __getstate__(self) -> dict[str, object]:
        # An open zip must not be shared between worker processes: each opens its own.
        return {**self.__dict__, "_archive": None}

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) RGB uint8 and label map (size, size) uint8."""
        name = self.names[index]
        picture = self._decode(f"{self.split}/images/{name}.jpg", cv2.IMREAD_COLOR)
        indices = self._decode(f"{self.split}/labels/{name}.png", cv2.IMREAD_GRAYSCALE)
        if picture.shape[:2] != (self.size, self.size):
            picture = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)
        if indices.shape != (self.size, self.size):
            indices = cv2.resize(indices, (self.size, self.size), interpolation=cv2.INTER_NEAREST)
        label = self._lookup[indices]
        if (label == 254).any():
            raise UnsupportedError(
                f"label map '{name}' in '{self.path}' has unknown index {int(indices[label == 254][0])}",
                f"indices are 0 to {len(CLASS_OF_INDEX) - 1}",
            )
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), label

    def _decode(self, member: str, mode: int) -> np.ndarray:
        if self._archive is None:
            self._archive = zipfile.ZipFile(self.path)
        try:
            decoded = cv2.imdecode(np.frombuffer(self._archive.read(member), np.uint8), mode)
        except (zipfile.BadZipFile, cv2.error, OSError) as error:
            raise UnsupportedError(f"'{member}' in '{self.path}' is damaged: {error}") from error
        if decoded is None:
            raise UnsupportedError(f"'{member}' in '{self.path}' is not a picture")
        return decoded
