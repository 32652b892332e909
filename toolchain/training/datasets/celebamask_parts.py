"""CelebAMask-HQ as its authors publish it: one picture and up to eighteen part masks a face."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.crop import same_shape
from toolchain.training.datasets.decode import decode_index_map, decode_picture, file_bytes
from toolchain.training.datasets.pairs import IGNORE, FacePairs, Skipped

PICTURES = "CelebA-HQ-img"
MASKS = "CelebAMask-HQ-mask-anno"
IDENTITIES = "CelebA-HQ-to-CelebA-mapping.txt"

# Part of a mask's file name -> class, in the order in which the authors' own script paints them, later ones
# over earlier ones; their index maps number them 1 to 18. Left is the subject's. Glasses hide what lies below
# them, so they are ignored; the parts that are not of the face are background.
CLASS_OF_PART = {
    "skin": 1,
    "nose": 6,
    "eye_g": IGNORE,
    "l_eye": 4,
    "r_eye": 5,
    "l_brow": 2,
    "r_brow": 3,
    "l_ear": 0,
    "r_ear": 0,
    "mouth": 8,
    "u_lip": 7,
    "l_lip": 9,
    "hair": 0,
    "hat": 0,
    "ear_r": 0,
    "neck_l": 0,
    "neck": 0,
    "cloth": 0,
}
CLASS_OF_INDEX = (0, *CLASS_OF_PART.values())

TERMS = (
    "trained on CelebAMask-HQ, which is for non-commercial research: these weights are for "
    "research use, and must not be used commercially"
)

# The authors' partition script compares the column orig_idx with these, after the partition of CelebA.
FIRST_VALIDATION, FIRST_TEST = 162771, 182638

# Without the mapping file: of each ten pictures the ninth is for validation and the tenth for the test.
_VALIDATION_DIGIT, _TEST_DIGIT = 8, 9


class CelebAMaskParts(FacePairs):
    """Pairs from `CelebA-HQ-img/N.jpg` and `CelebAMask-HQ-mask-anno/*/NNNNN_PART.png`.

    The split is the official one by `CelebA-HQ-to-CelebA-mapping.txt` (24,183 train, 2,993 val, 2,824 test).
    Where that file is missing, picture N is for validation when N ends in 8, for the test when it ends in 9.
    The pictures are face crops already and are not cropped again.

    Args:
        path: the folder.
        split: "train", "val" or "test".
        size: side in pixels that pictures (area) and labels (nearest) are resized to.

    Raises:
        UsageError: there is no such folder, or nothing of that split in it.
        UnsupportedError: the mapping file cannot be read, or a pair is damaged.
    """

    description = "CelebAMask-HQ"
    terms = TERMS

    def __init__(self, path: Path | str, split: str, size: int) -> None:
        self.path = Path(path)
        self.size = size
        self.split = split
        for part in (PICTURES, MASKS):
            if not (self.path / part).is_dir():
                raise UsageError(
                    f"'{self.path}' has no folder {part}",
                    "give the folder CelebAMask-HQ that the official archive unpacks to",
                )
        split_of = _split_rule(self.path / IDENTITIES)
        pictures = {
            int(entry.name[:-4])
            for entry in os.scandir(self.path / PICTURES)
            if entry.name.endswith(".jpg") and entry.name[:-4].isdecimal()
        }
        self._masks, unknown = _masks(self.path / MASKS)
        every = {number for number in pictures | self._masks.keys() if split_of(number) == split}
        good = {number for number in every & pictures if "skin" in self._masks.get(number, {})}
        self.names = sorted(f"{number:05d}" for number in good)
        self.skipped = tuple(
            Skipped(f"{number:05d}", "no mask of the skin" if number in pictures else "no picture")
            for number in sorted(every - good)
        ) + tuple(Skipped(name, "no such part") for name in unknown)
        if not self.names:
            raise UsageError(f"'{self.path}' has no pairs of the split '{split}'")

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) RGB uint8 and label map (size, size) uint8."""
        name = self.names[index]
        source = self.path / PICTURES / f"{int(name)}.jpg"
        picture = decode_picture(file_bytes(source), f"'{source}'")
        label: np.ndarray | None = None
        masks = self._masks[int(name)]
        for part, number in CLASS_OF_PART.items():
            if part not in masks:
                continue
            mask_path = self.path / MASKS / masks[part] / f"{name}_{part}.png"
            mask = decode_index_map(file_bytes(mask_path), f"'{mask_path}'")
            label = np.zeros_like(mask) if label is None else label
            if mask.shape != label.shape:
                raise UnsupportedError(f"'{mask_path}' has another size than the other masks of the picture")
            # Masks are 0 or 255.
            label[mask > 127] = number
        assert label is not None
        same_shape(picture, label, f"'{source}'")
        return to_square(picture, label, self.size)


def to_square(picture: np.ndarray, label: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A square picture and its label map, each resized from the size that it has."""
    if picture.shape[:2] != (size, size):
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    if label.shape != (size, size):
        label = cv2.resize(label, (size, size), interpolation=cv2.INTER_NEAREST)
    return picture, label


def _masks(folder: Path) -> tuple[dict[int, dict[str, str]], list[str]]:
    """Picture number to {part: folder that its mask is in}, and mask files of unknown parts."""
    found: dict[int, dict[str, str]] = {}
    unknown = []
    for place in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
        for entry in os.scandir(folder / place):
            number, _, rest = entry.name.partition("_")
            if not number.isdecimal() or not rest.endswith(".png"):
                continue
            if rest[:-4] in CLASS_OF_PART:
                found.setdefault(int(number), {})[rest[:-4]] = place
            else:
                unknown.append(entry.name)
    return found, sorted(unknown)


def _split_rule(mapping: Path) -> Callable[[int], str]:
    """Which split a picture number belongs to; "" for a number that the mapping does not know."""
    if not mapping.is_file():
        digits = {_VALIDATION_DIGIT: "val", _TEST_DIGIT: "test"}
        return lambda number: digits.get(number % 10, "train")
    splits: dict[int, str] = {}
    for count, line in enumerate(mapping.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0] == "idx":
            continue
        try:
            number, original = int(words[0]), int(words[1])
        except (ValueError, IndexError) as error:
            raise UnsupportedError(f"line {count} of '{mapping}' is not 'idx orig_idx orig_file'") from error
        splits[number] = (
            "train" if original < FIRST_VALIDATION else "val" if original < FIRST_TEST else "test"
        )
    return lambda number: splits.get(number, "")
