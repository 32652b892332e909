"""Clips: frames of a video file, its shots, and a region of interest that holds still within each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.detector import detector
from toolchain.face.picture import check_picture
from toolchain.face.region import Box
from toolchain.runtimes.native_output import captured_stderr

SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
# A cut: grey thumbnails differ by this much on average (0-255), and by this many times what is usual nearby.
THUMBNAIL = (64, 36)
CUT, TIMES_USUAL = 15.0, 3.0
NEARBY = 5
# The detector looks at every third frame; faces move little in a tenth of a second.
EVERY = 3
# The region stays until the face is this far off, in units of its box, or has another size by this factor.
# At a margin of 1.56 the face is then still well inside.
DRIFT, GROWTH = 0.12, 1.2
# Running median over this many detections takes single wrong ones away.
MEDIAN = 5
# A region is placed for this many frames ahead, so that a face that moves steadily is met halfway.
AHEAD = 15


@dataclass(frozen=True)
class Shot:
    """Frames `start` to `stop` (exclusive) of a clip, between two cuts.

    Attributes:
        boxes: one face box per frame that changes seldom; empty where no face was found.
        seen: share of the frames looked at in which a face was found.
    """

    start: int
    stop: int
    boxes: tuple[Box, ...]
    seen: float


@dataclass(frozen=True)
class Clip:
    """A video file with its shots."""

    path: Path
    frames: int
    fps: float
    shots: tuple[Shot, ...]


def clip_files(path: Path | str) -> tuple[Path, ...]:
    """The file itself, or the video files of a folder by name.

    Raises:
        UsageError: there are none.
    """
    path = Path(path)
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise UsageError(f"there is no clip or folder '{path}'", "give a video file, or a folder of them")
    found = tuple(sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES))
    if not found:
        raise UsageError(
            f"folder '{path}' has no video files", f"files that count end in {' '.join(SUFFIXES)}"
        )
    return found


def read_frames(path: Path | str, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Frames `start` to `stop` (exclusive) of a video file, (height, width, 3) RGB uint8.

    Frames before `start` are decoded too: seeking is not exact in every container.

    Raises:
        UsageError: the file cannot be read, or is no video.
    """
    path = Path(path)
    with captured_stderr():
        reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not path.is_file() or not reader.isOpened():
            raise UsageError(f"'{path}' is no video that OpenCV can read", "give an H.264 .mp4 file")
        number = 0
        while stop is None or number < stop:
            good, frame = reader.read()
            if not good:
                break
            if number >= start:
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            number += 1
    finally:
        reader.release()


def scan_clip(path: Path | str, limit: int | None = None, whole: bool = False) -> Clip:
    """Look for cuts and faces.

    Args:
        path: the video file.
        limit: look at no more frames than these, from the first; None for all.
        whole: take the largest square in the middle of the picture as the box, without looking for a face.

    Raises:
        UsageError: the file is no video.
        UnsupportedError: it has fewer than two frames.
    """
    thumbnails: list[np.ndarray] = []
    found: dict[int, Box | None] = {}
    finder = detector()
    for number, frame in enumerate(read_frames(path, stop=limit)):
        if number == 0:
            check_picture(frame, f"a frame of '{path}'")
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        thumbnails.append(cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA))
        if whole:
            found[number] = _middle(*frame.shape[:2])
        elif number % EVERY == 0:
            found[number] = next(iter(finder.detect(frame)), None)
    if len(thumbnails) < 2:
        raise UnsupportedError(
            f"'{path}' has {len(thumbnails)} frame(s)", "give a clip of at least two frames"
        )
    edges = [*shot_starts(thumbnails), len(thumbnails)]
    shots = []
    for start, stop in pairwise(edges):
        looked = {number - start: box for number, box in found.items() if start <= number < stop}
        boxes = {number: box for number, box in looked.items() if box is not None}
        steady = tuple(steady_boxes(boxes, stop - start)) if boxes else ()
        shots.append(Shot(start, stop, steady, len(boxes) / max(len(looked), 1)))
    return Clip(Path(path), len(thumbnails), _rate(path), tuple(shots))


def _middle(height: int, width: int) -> Box:
    side = min(height, width)
    return Box((width - side) / 2, (height - side) / 2, side, side)


def _rate(path: Path | str) -> float:
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    rate = float(reader.get(cv2.CAP_PROP_FPS))
    reader.release()
    return rate


def shot_starts(thumbnails: Sequence[np.ndarray]) -> list[int]:
    """First frames of the shots: 0, and wherever the picture changes abruptly.

    Args:
        thumbnails: (height, width) uint8 each, of all frames.
    """
    stack = np.stack(thumbnails).astype(np.int16)
    steps = np.abs(np.diff(stack, axis=0)).mean((1, 2))
    starts = [0]
    for index, step in enumerate(steps):
        nearby = np.delete(steps[max(0, index - NEARBY) : index + NEARBY + 1], min(index, NEARBY))
        usual = float(np.median(nearby)) if len(nearby) else 0.0
        if step > CUT and step > TIMES_USUAL * usual:
            starts.append(index + 1)
    return starts


def steady_boxes(found: dict[int, Box], frames: int) -> list[Box]:
    """A box for every frame that moves only when the face has left it by much.

    A region that follows every detection shakes by a few pixels, and so would the labels.

    Args:
        found: by frame number, at least one.
        frames: how many the shot has.

    Returns:
        One square box per frame; consecutive ones are the same object while the region holds still.
    """
    track = _track(found, frames)
    held: list[Box] = []
    for number, (x, y, side) in enumerate(track):
        if held:
            last = held[-1]
            off = max(abs(x - last.x - last.width / 2), abs(y - last.y - last.height / 2)) / last.width
            if off <= DRIFT and 1 / GROWTH <= side / last.width <= GROWTH:
                held.append(last)
                continue
        x, y, side = _placed(np.array([x, y, side]), np.median(track[number : number + AHEAD], axis=0))
        held.append(Box(float(x - side / 2), float(y - side / 2), float(side), float(side)))
    return held


def _placed(now: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Centre and side on the way from `now` to `ahead`, near enough to `now` not to move again at once."""
    side = np.clip(ahead[2], now[2] / GROWTH**0.5, now[2] * GROWTH**0.5)
    reach = DRIFT / 2 * side
    return np.array([*(now[:2] + np.clip(ahead[:2] - now[:2], -reach, reach)), side])


def _track(found: dict[int, Box], frames: int) -> np.ndarray:
    """(frames, 3): centre and side of the face in every frame, outliers removed and gaps bridged."""
    numbers = sorted(found)
    values = np.array(
        [
            (box.x + box.width / 2, box.y + box.height / 2, max(box.width, box.height))
            for box in (found[number] for number in numbers)
        ]
    )
    half = MEDIAN // 2
    calm = [
        np.median(values[max(0, index - half) : index + half + 1], axis=0) for index in range(len(values))
    ]
    return np.stack([np.interp(np.arange(frames), numbers, column) for column in np.stack(calm).T], axis=1)
