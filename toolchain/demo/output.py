"""Where a demo writes to: a clip, a picture, or a folder of pictures; whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Protocol

import cv2
import numpy as np

from toolchain.errors import ToolchainError, UsageError
from toolchain.face.picture import check_writable, write_picture
from toolchain.face.source import CLIPS, Folder, Source, fitted
from toolchain.runtimes.native_output import captured_stderr

# Suffix -> codec that every build of OpenCV can write.
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
RATE = 30.0
# Seconds between two pictures of a camera up to which the first one stays in the recording.
LONGEST_GAP = 1.0


class Output(Protocol):
    """Takes pictures one by one."""

    path: Path

    def write(self, picture: np.ndarray) -> None:
        """The next picture, (height, width, 3) RGB uint8."""

    def commit(self) -> None:
        """Put the result in its place."""

    def discard(self) -> None:
        """Leave nothing behind; does nothing after `commit`."""


def open_output(path: Path, source: Source) -> Output:
    """What fits a source: a clip for frames over time, a picture for one, a folder for many.

    Raises:
        UsageError: `path` does not fit the source, or cannot be written to.
    """
    if isinstance(source, Folder) and source.path.is_file():
        return PictureOutput(path, source.path)
    if isinstance(source, Folder):
        return FolderOutput(path, source)
    return ClipOutput(path, source)


@contextmanager
def kept_if_complete(output: Output | None, keep_anyway: bool) -> Iterator[None]:
    """Commit at the end of the block, discard when it fails; a recording of a camera is kept either way."""
    if output is None:
        yield
        return
    try:
        yield
    except BaseException:
        if keep_anyway:
            # What went wrong first is what the user should know.
            with suppress(ToolchainError):
                output.commit()
        raise
    else:
        output.commit()
    finally:
        output.discard()


class ClipOutput:
    """A video file. What comes from a camera is written at a constant rate, by repeating pictures.

    A pause, or the time in which the camera was away, is no part of it, but for LONGEST_GAP.

    Args:
        path: ends in a key of CODECS.
        source: gives the rate.

    Raises:
        UsageError: the suffix is another, or the file cannot be written.
    """

    def __init__(self, path: Path, source: Source) -> None:
        if path.suffix.lower() not in CODECS:
            raise UsageError(
                f"'{path}' is no clip that can be written", f"give a name that ends in {' '.join(CODECS)}"
            )
        _check_place(path)
        if path.exists() and Path(source.name).exists() and path.samefile(source.name):
            raise UsageError(f"'{path}' is the source itself", "choose another name with --output")
        self.path = path
        self._rate = source.rate or RATE
        self._live = source.live
        self._aside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix.lower()}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._start = self._last = 0.0
        self._written = 0

    def write(self, picture: np.ndarray) -> None:
        """See `Output`. Pictures of another size than the first are fitted into it."""
        now = perf_counter()
        if self._writer is None:
            self._open(_even(picture).shape[1::-1])
            self._start = self._last = now
        assert self._writer is not None
        self._start += max(0.0, now - self._last - LONGEST_GAP)
        self._last = now
        frame = cv2.cvtColor(fitted(_even(picture), self._size), cv2.COLOR_RGB2BGR)
        due = self._written + 1
        if self._live:
            due = max(1, round((now - self._start) * self._rate) + 1)
        while self._written < due:
            self._writer.write(frame)
            self._written += 1

    def commit(self) -> None:
        """See `Output`.

        Raises:
            UsageError: there were no pictures.
            ToolchainError: the file is not complete, as when the disk is full.
        """
        if self._writer is None:
            raise UsageError(f"there was no frame to write to '{self.path}'", "give a source that has some")
        self._writer.release()
        self._writer = None
        with captured_stderr():
            reader = cv2.VideoCapture(str(self._aside), cv2.CAP_FFMPEG)
            found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
            reader.release()
        if found < self._written:
            raise ToolchainError(
                f"'{self.path}' could not be written: {found} of {self._written} frames are in the file",
                "make room on the disk, or choose another place with --output",
            )
        os.replace(self._aside, self.path)

    def discard(self) -> None:
        """See `Output`."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        self._aside.unlink(missing_ok=True)

    def _open(self, size: tuple[int, ...]) -> None:
        self._size = (size[0], size[1])
        codec = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])  # type: ignore[attr-defined]
        with captured_stderr():
            writer = cv2.VideoWriter(str(self._aside), cv2.CAP_FFMPEG, codec, self._rate, self._size)
        if not writer.isOpened():
            raise UsageError(
                f"'{self.path}' cannot be written with {self._size[0]} x {self._size[1]} pixels",
                "choose another place or format with --output",
            )
        self._writer = writer


class PictureOutput:
    """A picture file.

    Raises:
        UsageError: the suffix is of no picture, the file cannot be written, or is the source itself.
    """

    def __init__(self, path: Path, source: Path) -> None:
        if path.suffix.lower() in CLIPS:
            raise UsageError(
                f"'{source}' is one picture, '{path}' a clip", "give --output a .png or .jpg name"
            )
        check_writable(path)
        if path.exists() and path.samefile(source):
            raise UsageError(f"'{path}' is the source itself", "choose another name with --output")
        self.path = path
        self._picture: np.ndarray | None = None

    def write(self, picture: np.ndarray) -> None:
        """See `Output`; the last picture counts."""
        self._picture = picture.copy()

    def commit(self) -> None:
        """See `Output`."""
        if self._picture is not None:
            write_picture(self.path, self._picture)

    def discard(self) -> None:
        """See `Output`."""
        self._picture = None


class FolderOutput:
    """A folder of pictures with the names of the source's.

    Files of other names that are in the folder stay.

    Raises:
        UsageError: there is a file in its place, it cannot be written, or it is the source itself.
    """

    def __init__(self, path: Path, source: Folder) -> None:
        if path.exists() and not path.is_dir():
            raise UsageError(f"'{path}' is a file, the source a folder", "give --output the name of a folder")
        if path.exists() and path.samefile(source.path):
            raise UsageError(f"'{path}' is the source itself", "choose another name with --output")
        _check_place(path, folder=True)
        self.path = path
        self._names = iter([file.name for file in source.files()])
        self._aside: Path | None = None

    def write(self, picture: np.ndarray) -> None:
        """See `Output`."""
        if self._aside is None:
            self._aside = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        write_picture(self._aside / next(self._names), picture)

    def commit(self) -> None:
        """See `Output`."""
        if self._aside is None:
            return
        self.path.mkdir(exist_ok=True)
        for file in sorted(self._aside.iterdir()):
            os.replace(file, self.path / file.name)

    def discard(self) -> None:
        """See `Output`."""
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)


def _even(picture: np.ndarray) -> np.ndarray:
    """Without the last column or row where there is an odd one: the codecs halve the colours' resolution."""
    height, width = picture.shape[:2]
    return picture[: max(1, height - height % 2), : max(1, width - width % 2)]


def _check_place(path: Path, folder: bool = False) -> None:
    if path.is_dir() and not folder:
        raise UsageError(f"'{path}' is a folder", "choose another name with --output")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder '{path.parent}'", "make it first")
    if not os.access(path if path.is_dir() else path.parent, os.W_OK):
        raise UsageError(f"folder '{path.parent}' cannot be written to", "choose another with --output")
