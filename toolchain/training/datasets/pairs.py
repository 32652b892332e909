"""What every dataset of face parsing gives: pairs of a picture and a label map."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

# Pixels with this label count neither in the loss nor in a metric.
IGNORE = 255

Pairs = TypeVar("Pairs", bound="FacePairs")


@dataclass(frozen=True)
class Skipped:
    """A pair that is not used.

    Attributes:
        name: as in `FacePairs.names`, or the file's.
        reason: what is wrong with it.
        unknown: indices of its label map that no class is given for.
    """

    name: str
    reason: str
    unknown: tuple[int, ...] = ()


class FacePairs(Dataset[tuple[Tensor, Tensor]], ABC):
    """Pairs of one split of a dataset, all of one size.

    An item is the picture as uint8 (3, size, size) RGB and the label map as uint8 (size, size) with the
    classes of `toolchain.models.faces.LABELS`, 255 where neither loss nor metric counts.

    A dataset that varies its pictures at random draws from torch's generator.

    Attributes:
        names: of the pairs, sorted; `pair(index)` is the one called `names[index]`.
        size: side in pixels.
        description: name of the dataset, for cards and reports.
        terms: what may be done with weights that were trained on it; "" when there are no conditions.
        skipped: pairs that were found damaged or unusable and are not among `names`.
    """

    names: list[str]
    size: int
    description: str = ""
    terms: str = ""
    skipped: tuple[Skipped, ...] = ()

    @abstractmethod
    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) RGB uint8 and label map (size, size) uint8.

        Raises:
            UnsupportedError: the pair is damaged; the message names it.
        """

    def without(self: Pairs, damaged: Iterable[Skipped]) -> Pairs:
        """The same pairs, but those; they are added to `skipped`."""
        damaged = tuple(damaged)
        names = {entry.name for entry in damaged}
        rest = copy.copy(self)
        rest.names = [name for name in self.names if name not in names]
        rest.skipped = self.skipped + damaged
        return rest

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.pair(index)
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.from_numpy(label)
