"""The annotated pictures that face parsers are judged on, and the previous masks that go with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from toolchain.errors import UnsupportedError
from toolchain.models.faces import LABELS
from toolchain.training.datasets import open_pairs
from toolchain.training.datasets.pairs import IGNORE, FacePairs

NONE, OWN, TRUTH, FAKED = "none", "own", "truth", "faked"
PREVIOUS = {
    NONE: "empty, as on a first frame",
    OWN: "the network's own answer to the same picture with an empty mask, as on a second frame",
    TRUTH: "the true labels of the same picture",
    FAKED: "the true labels after a small random motion, as in training",
}


@dataclass(frozen=True)
class Sample:
    """One annotated picture.

    Attributes:
        index: of the pair.
        pairs: by side in pixels: picture (side, side, 3) RGB uint8 and labels (side, side) uint8.
        previous: by side in pixels: previous mask (classes, side, side) float32, where it is made of the
            labels.
    """

    index: int
    pairs: dict[int, tuple[np.ndarray, np.ndarray]]
    previous: dict[int, np.ndarray]


class Pictures:
    """The pairs of a dataset at all sizes that face parsers need.

    Args:
        data: see `toolchain.training.datasets.open_pairs`.
        split: part of the dataset.
        sides: sizes in pixels.
        previous: a key of PREVIOUS.
        with_previous: those of `sides` at which previous masks are needed.

    Raises:
        UsageError: there are no such data.
        UnsupportedError: they are damaged.
    """

    def __init__(
        self, data: str, split: str, sides: Collection[int], previous: str, with_previous: Collection[int]
    ) -> None:
        self._at = {side: open_pairs(data, split, side) for side in sorted(sides)}
        self._previous = previous
        self._with_previous = tuple(with_previous) if previous in (TRUTH, FAKED) else ()

    def at(self, side: int) -> FacePairs:
        """The dataset at a size."""
        return self._at[side]

    def pair(self, index: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture and labels of a pair; where a dataset varies them at random, the same every time.

        Raises:
            UnsupportedError: the pair is damaged, or has a label that is none of the classes.
        """
        pairs = self._at[side]
        with _seeded(index):
            picture, label = pairs.pair(index)
        if ((label >= len(LABELS)) & (label != IGNORE)).any():
            raise UnsupportedError(
                f"label map '{pairs.names[index]}' has labels beyond the {len(LABELS)} classes"
            )
        return picture, label

    def sample(self, index: int) -> Sample:
        """A pair at all sizes, with its previous masks."""
        pairs = {side: self.pair(index, side) for side in self._at}
        masks = {side: self._mask(pairs[side][1], index) for side in self._with_previous}
        return Sample(index, pairs, masks)

    def _mask(self, label: np.ndarray, index: int) -> np.ndarray:
        if self._previous == FAKED:
            return _faked(label, index)
        # Pixels without annotation have no class.
        return np.eye(IGNORE + 1, len(LABELS), dtype=np.float32)[label].transpose(2, 0, 1)


def _faked(label: np.ndarray, seed: int) -> np.ndarray:
    from toolchain.training.previous import PreviousSettings, fake_previous

    settings = PreviousSettings(empty=0.0, large=0.0, other=0.0)
    with _seeded(seed):
        made = fake_previous(torch.from_numpy(label.astype(np.int64))[None], len(LABELS), settings)
    return made[0].contiguous().numpy()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws of torch's generator inside depend on the seed, and do not move those outside."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
