"""Arrays of .npy and .npz files whose rows are read one after the other, no more of them than are used."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from toolchain.errors import UnsupportedError, UsageError

MEMBER = ".npy"
# What numpy reads the header of a version with.
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass
class StoredArray:
    """An array in a file.

    Attributes:
        shape: of the whole array.
        dtype: of its elements.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    _stream: IO[bytes] | None = None
    _array: np.ndarray | None = None
    _row: int = 0

    def next_rows(self, count: int) -> np.ndarray:
        """The following `count` indices of the first axis; may not be written to.

        Raises:
            UnsupportedError: the file is damaged.
        """
        first, self._row = self._row, self._row + count
        if self._array is not None:
            return self._array[first : self._row]
        assert self._stream is not None
        shape = (count, *self.shape[1:])
        content = self._stream.read(math.prod(shape) * self.dtype.itemsize)
        return np.frombuffer(content, self.dtype).reshape(shape)


@contextmanager
def stored_arrays(path: Path) -> Iterator[dict[str, StoredArray]]:
    """The arrays of a file by name, to read while the context is open; that of a .npy file has the name "".

    Raises:
        UsageError: there is no such file.
        UnsupportedError: it is damaged, also where that is found in the context, or holds what is no array.
    """
    if not path.exists():
        raise UsageError(f"no file at '{path}'", "give a .npy or .npz file that exists")
    with ExitStack() as stack:
        try:
            yield _opened(path, stack)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UnsupportedError(
                f"'{path}' is not a readable .npy or .npz file: {error}", "write it again with numpy.savez"
            ) from error


def _opened(path: Path, stack: ExitStack) -> dict[str, StoredArray]:
    if not zipfile.is_zipfile(path):
        loaded = np.load(path, allow_pickle=False)
        return {"": StoredArray(loaded.shape, loaded.dtype, _array=loaded)}
    archive = stack.enter_context(zipfile.ZipFile(path))
    found = {}
    for member in archive.namelist():
        name = member.removesuffix(MEMBER)
        stream = stack.enter_context(archive.open(member))
        if stream.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            raise UnsupportedError(f"'{name}' in '{path}' is not an array", "write it again with numpy.savez")
        found[name] = _streamed(stream) or _whole(archive, member)
    return found


def _streamed(stream: IO[bytes]) -> StoredArray | None:
    """The array behind a header, None where its rows do not follow each other."""
    major, minor = stream.read(2)
    if (major, minor) not in HEADERS:
        return None
    shape, by_columns, dtype = HEADERS[major, minor](stream)
    if dtype.hasobject or not shape or (by_columns and len(shape) > 1):
        return None
    return StoredArray(shape, dtype, stream)


def _whole(archive: zipfile.ZipFile, member: str) -> StoredArray:
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return StoredArray(array.shape, array.dtype, _array=array)
