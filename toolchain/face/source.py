"""Where frames come from: a camera, a clip, a picture, a folder of pictures, or a drawing that moves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.picture import check_picture, read_picture
from toolchain.runtimes.native_output import captured_stderr

CAMERA = "camera"
SYNTHETIC = "synthetic"
CLIPS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
KINDS = f"sources are {CAMERA}, a camera's number, a clip, a picture, a folder of pictures, {SYNTHETIC}"
SYNTHETIC_SIZE, SYNTHETIC_RATE = (640, 480), 30.0
# Containers tell the number of frames; where they estimate it, it is off by this many or this share.
SPARE_FRAMES, SPARE_SHARE = 2, 0.02
# OpenCV hands this to FFmpeg, which writes past sys.stderr: "quiet". A known error says what is wrong.
LOG_LEVEL = ("OPENCV_FFMPEG_LOGLEVEL", "-8")


class Source(Protocol):
    """Frames in the order of time.

    Attributes:
        name: as the user gave it.
        live: whether frames come at their own pace, and one that is not taken is lost.
        rate: frames per second; None where they have no time.
    """

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> bool: ...

    @property
    def rate(self) -> float | None: ...

    def frames(self) -> Iterator[np.ndarray]:
        """(height, width, 3) RGB uint8, from the first frame on; closing the iterator frees the source.

        Raises:
            UsageError: a file cannot be read.
            UnsupportedError: the source ends too early.
        """


def open_source(text: str) -> Source:
    """The source that a word on the command line means.

    Args:
        text: "camera" or a camera's number, "synthetic", or the path of a clip, of a picture or of a folder
            of pictures. A file called "camera" is "./camera".

    Raises:
        UsageError: there is no such thing; cameras and clips are opened by `frames`.
    """
    if text == CAMERA or (text.isascii() and text.isdigit()):
        return Camera(0 if text == CAMERA else int(text))
    if text == SYNTHETIC:
        return Synthetic()
    path = Path(text)
    # The empty text would be the current folder.
    if text and path.is_dir():
        return Folder(path)
    if not text or not path.exists():
        raise UsageError(f"there is no source '{text}'", KINDS)
    if path.suffix.lower() in PICTURES:
        return Folder(path)
    return ClipFile(path)


@dataclass
class Camera:
    """A webcam by its number; frames come at its pace."""

    number: int
    live = True
    rate = None

    @property
    def name(self) -> str:
        return f"{CAMERA} {self.number}"

    def frames(self) -> Iterator[np.ndarray]:
        """See `Source`. Ends when the camera is unplugged, by an error that says so."""
        with captured_stderr():
            reader = cv2.VideoCapture(self.number)
        hint = "plug one in, close what else uses it, or give a clip with --source clip.mp4"
        try:
            if not reader.isOpened():
                raise UsageError(*_camera_refused(self.number, hint))
            seen = 0
            while True:
                good, frame = reader.read()
                if not good:
                    what = f"went away after {seen} frames" if seen else "gives no frames"
                    raise UnsupportedError(f"camera {self.number} {what}", hint)
                seen += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            reader.release()


@dataclass
class ClipFile:
    """A video file."""

    path: Path
    live = False

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def rate(self) -> float | None:
        reader = _reader(self.path)
        rate = float(reader.get(cv2.CAP_PROP_FPS))
        reader.release()
        return rate if rate > 0 else None

    def frames(self) -> Iterator[np.ndarray]:
        """See `Source`.

        Raises:
            UsageError: OpenCV cannot decode it.
            UnsupportedError: fewer frames can be decoded than the file says it has.
        """
        reader = _reader(self.path)
        seen = 0
        try:
            said = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
            while True:
                good, frame = reader.read()
                if not good:
                    break
                if seen == 0:
                    check_picture(frame, f"a frame of '{self.path}'")
                seen += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            reader.release()
        if seen == 0:
            raise UsageError(f"no frame of '{self.path}' can be decoded", "give an H.264 .mp4 file")
        if seen < said - max(SPARE_FRAMES, SPARE_SHARE * said):
            raise UnsupportedError(
                f"'{self.path}' ends early: {seen} of {said} frames could be decoded",
                "copy or download it again, or ask for fewer frames",
            )


@dataclass
class Folder:
    """A folder of pictures in the order of their names, or one picture."""

    path: Path
    live = False
    rate = None

    @property
    def name(self) -> str:
        return str(self.path)

    def files(self) -> list[Path]:
        """The pictures' files, in the order of the frames.

        Raises:
            UsageError: there are none.
        """
        if self.path.is_file():
            return [self.path]
        found = sorted(file for file in self.path.iterdir() if file.suffix.lower() in PICTURES)
        if not found:
            raise UsageError(
                f"folder '{self.path}' has no pictures", f"files that count end in {' '.join(PICTURES)}"
            )
        return found

    def frames(self) -> Iterator[np.ndarray]:
        """See `Source`."""
        for file in self.files():
            yield read_picture(file)


class Synthetic:
    """A drawn face that wanders about, without end: what runs for hours and needs no file.

    Args:
        size: width and height of the frames.
        count: how many there are; None for no end.
    """

    name = SYNTHETIC
    live = False
    rate = SYNTHETIC_RATE

    def __init__(self, size: tuple[int, int] = SYNTHETIC_SIZE, count: int | None = None) -> None:
        self.size = size
        self.count = count

    def frames(self) -> Iterator[np.ndarray]:
        """See `Source`."""
        number = 0
        while self.count is None or number < self.count:
            yield drawn_face(self.size, self.centre(number), self.side)
            number += 1

    @property
    def side(self) -> float:
        """Side of the face's box in pixels."""
        return 0.45 * min(self.size)

    def centre(self, number: int) -> tuple[float, float]:
        """Centre of the face in a frame: around the middle in ten seconds."""
        angle = 2 * np.pi * number / (10 * SYNTHETIC_RATE)
        width, height = self.size
        return width / 2 + 0.15 * width * np.cos(angle), height / 2 + 0.08 * height * np.sin(angle)


def drawn_face(size: tuple[int, int], centre: tuple[float, float], side: float) -> np.ndarray:
    """(height, width, 3) RGB uint8: an oval with brows, eyes, nose and mouth on a grey ground.

    Args:
        size: width and height in pixels.
        centre: of the box that a detector would draw.
        side: of that box.
    """
    picture = np.full((size[1], size[0], 3), (88, 96, 104), np.uint8)

    def oval(x: float, y: float, wide: float, high: float, color: tuple[int, int, int]) -> None:
        place = (round(centre[0] + x * side), round(centre[1] + y * side))
        axes = (max(1, round(wide * side)), max(1, round(high * side)))
        cv2.ellipse(picture, place, axes, 0, 0, 360, color, -1, cv2.LINE_AA)

    oval(0, 0.02, 0.52, 0.66, (70, 48, 36))
    oval(0, 0.06, 0.44, 0.58, (214, 170, 146))
    for sign in (-1, 1):
        oval(sign * 0.19, -0.24, 0.12, 0.025, (78, 52, 40))
        oval(sign * 0.19, -0.12, 0.085, 0.042, (240, 236, 230))
        oval(sign * 0.19, -0.12, 0.04, 0.04, (48, 34, 28))
        oval(sign * 0.05, 0.13, 0.025, 0.015, (150, 100, 86))
    oval(0, 0.05, 0.05, 0.11, (200, 150, 126))
    oval(0, 0.3, 0.15, 0.05, (170, 74, 80))
    oval(0, 0.3, 0.13, 0.008, (96, 30, 36))
    return cv2.GaussianBlur(picture, (0, 0), max(0.8, side / 150))


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture scaled to fit into a size, with black bars beside it where its shape is another.

    Args:
        picture: (height, width, 3) uint8.
        size: width and height wanted.

    Returns:
        (height, width, 3) uint8 of that size; the picture itself when it has it.
    """
    height, width = picture.shape[:2]
    if (width, height) == tuple(size):
        return picture
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    rule = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    result = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    result[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=rule)
    return result


def _camera_refused(number: int, hint: str) -> tuple[str, str]:
    """Message and hint for a camera that cannot be opened."""
    if sys.platform == "darwin":
        # macOS does not tell the two apart.
        hint = "allow the terminal in System Settings, Privacy & Security, Camera; " + hint
        return f"there is no camera {number}, or this program may not use it", hint
    device = Path(f"/dev/video{number}")
    if sys.platform == "linux" and device.exists():
        if not os.access(device, os.R_OK | os.W_OK):
            return (
                f"permission to use camera {number} ({device}) is refused",
                "add yourself to the group that owns it (usually 'video') and log in again",
            )
        return f"camera {number} ({device}) cannot be opened: another program may use it", hint
    return f"there is no camera {number}, or it may not be used", hint


def _reader(path: Path) -> cv2.VideoCapture:
    os.environ.setdefault(*LOG_LEVEL)
    with captured_stderr():
        reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not reader.isOpened():
        reader.release()
        raise UsageError(f"'{path}' is no clip that OpenCV can decode", f"give an H.264 .mp4 file; {KINDS}")
    return reader
