"""Decoded pairs kept in a file that all worker processes map into memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from toolchain.errors import UsageError
from toolchain.training.datasets.pairs import FacePairs, Skipped

DEFAULT_LIMIT = 2 * 2**30

_FREE_SHARE = 0.5


class Cached(FacePairs):
    """Another dataset, each of whose pairs is decoded once.

    Decoded pictures go as uint8 into a temporary file (four bytes a pixel of a pair), which is mapped into
    memory: the system keeps as much of it there as is free, worker processes share it, however they are
    started, and it is deleted with this object. What a dataset varies at random it varies after the cache.

    Args:
        pairs: the dataset.
        limit: largest size of the file in bytes. Pairs beyond it are decoded every time.
        folder: where the file goes; the system's temporary folder when None.

    Raises:
        UsageError: the folder has not enough room: less than twice the file's size is free.
    """

    def __init__(self, pairs: FacePairs, limit: int = DEFAULT_LIMIT, folder: Path | None = None) -> None:
        self.pairs = pairs
        self.names, self.size, self.skipped = pairs.names, pairs.size, pairs.skipped
        self.description, self.terms = pairs.description, pairs.terms
        side = pairs.stored_side
        # A byte before each pair says whether it is there.
        self._width = 1 + 4 * side * side
        self.kept = min(len(pairs), max(0, limit) // self._width)
        place = Path(folder or tempfile.gettempdir())
        needed = self.kept * self._width
        if needed > _FREE_SHARE * shutil.disk_usage(place).free:
            raise UsageError(
                f"'{place}' has no room for {needed >> 20} MiB of decoded pictures",
                "set TMPDIR to a folder with more room, or keep fewer pictures",
            )
        self._file = Path(_temporary(place, needed)) if needed else None
        self._memory: np.ndarray | None = None
        if self._file is not None:
            self._delete = weakref.finalize(self, _delete, self._file, os.getpid())

    def __getstate__(self) -> dict[str, object]:
        # The copy in a worker maps the same file, and must not delete it.
        return {key: value for key, value in self.__dict__.items() if key != "_delete"} | {"_memory": None}

    @property
    def stored_side(self) -> int:
        """Side in pixels of what is kept."""
        return self.pairs.stored_side

    def stored(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """What `pairs.stored` returned the first time."""
        if index >= self.kept:
            return self.pairs.stored(index)
        row = self._rows()[index]
        side = self.stored_side
        if not row[0]:
            picture, label = self.pairs.stored(index)
            row[1 : 1 + picture.size] = picture.reshape(-1)
            row[1 + picture.size :] = label.reshape(-1)
            # Last, so that another process never sees half a pair.
            row[0] = 1
            return picture, label
        return row[1 : 1 + 3 * side * side].reshape(side, side, 3), row[1 + 3 * side * side :].reshape(
            side, side
        )

    def finish(self, picture: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As the dataset does."""
        return self.pairs.finish(picture, label)

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) RGB uint8 and label map (size, size) uint8."""
        picture, label = self.finish(*self.stored(index))
        # What is kept must not change with what is done to the pair.
        return np.array(picture), np.array(label)

    def without(self, damaged: Iterable[Skipped]) -> Cached:
        """A new, empty cache of the other pairs."""
        return Cached(self.pairs.without(damaged), self.kept * self._width, self._file and self._file.parent)

    def _rows(self) -> np.ndarray:
        if self._memory is None:
            assert self._file is not None
            self._memory = np.memmap(self._file, np.uint8, "r+", shape=(self.kept, self._width))
        return self._memory


def _temporary(folder: Path, size: int) -> str:
    handle, name = tempfile.mkstemp(prefix="toolchain-pairs-", dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.truncate(size)
    return name


def _delete(path: Path, owner: int) -> None:
    # A forked worker inherits this duty, and must leave it to its parent.
    if os.getpid() == owner:
        path.unlink(missing_ok=True)
