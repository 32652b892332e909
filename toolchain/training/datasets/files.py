"""Files of a data set by name, whether they lie in a folder or in a zip file. Nothing is extracted."""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.decode import MAX_FILE_BYTES, file_bytes

# What zipfile raises for a member that is cut, changed, encrypted or packed by an unknown method.
_DAMAGES = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError)


class Files(ABC):
    """Files by name.

    Attributes:
        path: the folder or zip file.
    """

    path: Path

    @abstractmethod
    def names(self) -> list[str]:
        """Names of all files from the top on, with "/" between folders."""

    @abstractmethod
    def content(self, name: str) -> bytes:
        """The bytes of a file; may be called from several threads.

        Raises:
            UnsupportedError: it cannot be read, or is larger than `MAX_FILE_BYTES`.
        """

    def where(self, name: str) -> str:
        """A file in messages."""
        return f"'{name}' in '{self.path}'"

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


class _Folder(Files):
    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return [file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()]

    def content(self, name: str) -> bytes:
        return file_bytes(self.path / name)


class _Zip(Files):
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UnsupportedError(f"'{path}' is not a zip file", "download it again") from error

    def __exit__(self, *_error: object) -> None:
        self._archive.close()

    def names(self) -> list[str]:
        return [name for name in self._archive.namelist() if not name.endswith("/")]

    def content(self, name: str) -> bytes:
        try:
            if self._archive.getinfo(name).file_size > MAX_FILE_BYTES:
                raise UnsupportedError(f"{self.where(name)} is larger than {MAX_FILE_BYTES >> 20} MiB")
            return self._archive.read(name)
        except _DAMAGES as error:
            raise UnsupportedError(f"{self.where(name)} is damaged: {error}") from error


def open_files(path: Path) -> Files:
    """The files below a folder, or in a zip file.

    Raises:
        UsageError: there is neither.
        UnsupportedError: the file is no zip file.
    """
    if path.is_dir():
        return _Folder(path)
    if not path.is_file():
        raise UsageError(f"no data at '{path}'", "give a folder or a zip file")
    return _Zip(path)
