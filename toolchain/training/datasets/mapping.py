"""From the indices of a dataset to the classes of `toolchain.models.faces.LABELS`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.training.datasets.pairs import IGNORE

# Left and right brow, left and right eye.
SIDES = ((2, 3), (4, 5))

_UNKNOWN = 254


class UnknownIndexError(UnsupportedError):
    """A label map has indices that no class is given for.

    Args:
        where: the file.
        indices: these.
        hint: what to do.
    """

    def __init__(self, where: str, indices: tuple[int, ...], hint: str) -> None:
        what = "index" if len(indices) == 1 else "indices"
        super().__init__(f"label map {where} has unknown {what} {', '.join(map(str, indices))}", hint)
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
            raise UnknownIndexError(where, tuple(np.unique(indices[wrong]).tolist()), f"indices are {known}")
        if (label == IGNORE).all():
            raise UnsupportedError(f"label map {where} has no annotated pixel: all are ignored")
        return label


def numbered(classes: tuple[int, ...]) -> ClassMapping:
    """The mapping whose indices are positions in `classes`."""
    return ClassMapping(dict(enumerate(classes)))


__all__ = ["IGNORE", "SIDES", "ClassMapping", "numbered"]
