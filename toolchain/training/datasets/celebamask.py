"""CelebAMask-HQ (arXiv:1907.11922) as a zip of index maps; the official folder is in `celebamask_parts`."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.training.datasets.celebamask_parts import CLASS_OF_INDEX, TERMS, CelebAMaskParts, to_square
from toolchain.training.datasets.crop import same_shape
from toolchain.training.datasets.decode import MAX_FILE_BYTES, decode_index_map, decode_picture
from toolchain.training.datasets.mapping import numbered
from toolchain.training.datasets.pairs import FacePairs
from toolchain.training.datasets.partners import partners

# What zipfile raises for a member that is cut, changed, encrypted or (a RuntimeError too) packed by an
# unknown method.
_DAMAGES = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError)


def open_celebamask(path: str, split: str, size: int) -> FacePairs:
    """The zip of index maps, or the official folder of part masks."""
    return (CelebAMaskParts if Path(path).is_dir() else CelebAMask)(path, split, size)


class CelebAMask(FacePairs):
    """Pairs from a zip of `SPLIT/images/NAME.jpg` and `SPLIT/labels/NAME.png` (index 0-18).

    The pictures are face crops already and are not cropped again. Members are read into memory, never
    extracted.

    Args:
        path: the zip file.
        split: the folder in it: "train" or "val".
        size: side in pixels that pictures (area) and labels (nearest) are resized to.

    Raises:
        UsageError: there is no such file or split.
        UnsupportedError: the file is not a zip, or a pair in it is damaged.
    """

    description = "CelebAMask-HQ subset"
    terms = TERMS

    def __init__(self, path: Path | str, split: str, size: int) -> None:
        self.path = Path(path)
        self.size = size
        self.split = split
        self._archive: zipfile.ZipFile | None = None
        self._owner = 0
        self._mapping = numbered(CLASS_OF_INDEX)
        if not self.path.is_file():
            raise UsageError(
                f"no data at '{self.path}'",
                "give the path of celebamask_hq_256.zip or of the folder CelebAMask-HQ: celebamask:PATH",
            )
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = archive.namelist()
        except (zipfile.BadZipFile, OSError) as error:
            raise UnsupportedError(f"'{self.path}' is not a zip file", "download it again") from error
        self.names, self.skipped = partners(
            _stems(members, f"{split}/images/", ".jpg"), _stems(members, f"{split}/labels/", ".png")
        )
        if not self.names:
            splits = sorted({name.split("/")[0] for name in members if "/images/" in name})
            raise UsageError(
                f"'{self.path}' has no pairs {split}/images/*.jpg with {split}/labels/*.png",
                f"splits are {', '.join(splits)}" if splits else "",
            )

    def __getstate__(self) -> dict[str, object]:
        # An open zip cannot be sent to a worker process: each opens its own.
        return {**self.__dict__, "_archive": None}

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) RGB uint8 and label map (size, size) uint8."""
        name = self.names[index]
        image, labels = f"{self.split}/images/{name}.jpg", f"{self.split}/labels/{name}.png"
        picture = decode_picture(self._read(image), self._where(image))
        label = self._mapping.apply(
            decode_index_map(self._read(labels), self._where(labels)), self._where(labels)
        )
        same_shape(picture, label, self._where(image))
        return to_square(picture, label, self.size)

    def _where(self, member: str) -> str:
        return f"'{member}' in '{self.path}'"

    def _read(self, member: str) -> bytes:
        # A forked worker that read through its parent's open file would move the parent's position in it.
        if self._archive is None or self._owner != os.getpid():
            self._archive, self._owner = zipfile.ZipFile(self.path), os.getpid()
        try:
            if self._archive.getinfo(member).file_size > MAX_FILE_BYTES:
                raise UnsupportedError(f"{self._where(member)} is larger than {MAX_FILE_BYTES >> 20} MiB")
            return self._archive.read(member)
        except _DAMAGES as error:
            raise UnsupportedError(f"{self._where(member)} is damaged: {error}") from error


def _stems(members: list[str], start: str, end: str) -> set[str]:
    return {PurePosixPath(name).stem for name in members if name.startswith(start) and name.endswith(end)}
