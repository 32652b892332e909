"""Drawn faces as a dataset: no file is needed, and every label is exact."""

from __future__ import annotations

import numpy as np

from toolchain.errors import UsageError
from toolchain.training.datasets.drawn_face import draw_face
from toolchain.training.datasets.pairs import FacePairs
from toolchain.training.datasets.schemes import SPLITS

# Validation and test sets are a tenth of the training set, and no smaller than this.
_FEWEST = 8


def open_drawn(what: str, split: str, size: int) -> FacePairs:
    """The dataset of "COUNT" or "COUNT:SEED"."""
    count, _, seed = what.partition(":")
    if not (count.isdecimal() and int(count) > 0 and (not seed or seed.isdecimal())):
        raise UsageError(
            f"'drawn:{what}' does not say how many faces", "write drawn:COUNT or drawn:COUNT:SEED"
        )
    return DrawnFaces(int(count), split, size, int(seed or 0))


class DrawnFaces(FacePairs):
    """Faces that are drawn when asked for; a picture depends on seed, split, index and size only.

    They let training run where there is no data, and are no replacement for photographs.

    Args:
        count: number of training pairs; the other splits have a tenth of it, at least 8.
        split: "train", "val" or "test".
        size: side in pixels.
        seed: another seed gives other faces.
    """

    description = "drawn faces"

    def __init__(self, count: int, split: str, size: int, seed: int = 0) -> None:
        self.size = size
        self._key = (seed, SPLITS.index(split))
        number = count if split == "train" else max(_FEWEST, count // 10)
        self.names = [f"{index:06d}" for index in range(number)]

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) RGB uint8 and label map (size, size) uint8."""
        random = np.random.default_rng((*self._key, int(self.names[index])))
        return draw_face(random, self.size)
