"""From the indices of a dataset to the classes of `toolchain.models.faces.LABELS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.training.datasets.pairs import IGNORE

# Left and right brow, left and right eye.
SIDES = ((2, 3), (4, 5))

_UNKNOWN = 254
# Indices that an error names.
MOST_LISTED = 8


class UnknownIndexError(UnsupportedError):
    """A label map has indices that no class is given for.

    Args:
        message: what is wrong.
        hint: what to do.
        indices: these, in rising order.
    """

    def __init__(self, message: str, hint: str = "", indices: tuple[int, ...] = ()) -> None:
        super().__init__(message, hint)
        self.indices = indices


class ClassMapping:
    """A table from index to class.

    Args:
        classes: class, or `IGNORE`, of every index that may occur.
    """

    def __init__(self, classes: Mapping[int, int]) -> None:
        self.classes = dict(classes)
        self.table = np.full(256, _UNKNOWN, np.uint8)
        for index, number in classes.items():
            self.table[index] = number

    def mirrored(self) -> ClassMapping:
        """The same with left and right exchanged."""
        other = {a: b for left, right in SIDES for a, b in ((left, right), (right, left))}
        return ClassMapping({index: other.get(number, number) for index, number in self.classes.items()})

    def apply(self, indices: np.ndarray, where: str) -> np.ndarray:
        """Label map of an index map, both (height, width) uint8.

        Raises:
            UnsupportedError: an index that is not in the table, or no pixel that counts.
        """
        label = self.table[indices]
        wrong = label == _UNKNOWN
        if wrong.any():
            known = ", ".join(str(index) for index in sorted(self.classes))
            unknown = tuple(np.unique(indices[wrong]).tolist())
            what = "index" if len(unknown) == 1 else "indices"
            raise UnknownIndexError(
                f"label map {where} has unknown {what} {listed(unknown)}", f"indices are {known}", unknown
            )
        if (label == IGNORE).all():
            raise UnsupportedError(f"label map {where} has no annotated pixel: all are ignored")
        return label


def listed(indices: Sequence[int]) -> str:
    """The first few, and how many there are besides."""
    more = len(indices) - MOST_LISTED
    named = ", ".join(str(index) for index in indices[:MOST_LISTED])
    return f"{named} and {more} more" if more > 0 else named


def numbered(classes: tuple[int, ...]) -> ClassMapping:
    """The mapping whose indices are positions in `classes`."""
    return ClassMapping(dict(enumerate(classes)))


__all__ = ["IGNORE", "SIDES", "ClassMapping", "UnknownIndexError", "listed", "numbered"]
