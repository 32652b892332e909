"""What a demo measures: quantiles in fixed memory, rates and stage times, and how steady the labels are."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from toolchain.face.engine import ParsedFrame, TrackedFace
from toolchain.face.region import BACKGROUND, crop_matrix, face_square
from toolchain.face.steadiness import changed_pixels, match_frames

TOTAL = "total"
STAGES = ("detection", "crop", "inference", "unwarp", "colorization")
# Quantiles are read off counts in bins of 1 %: two hours of frames take as much memory as two seconds.
SMALLEST_MS, STEP, BINS = 1e-3, 1.01, 2000
# What the screen shows is of the last second or so.
RECENT = 30
# Every so many frames the labels are compared along the optical flow, on a crop of this side. That takes
# as long as a third of a frame: done oftener it would be seen in the time from glass to glass.
EVERY, SIDE, MARGIN = 16, 160, 1.5
TOLERANCE = 1
# Weight of the newest steadiness on the screen.
NEWEST = 0.2


class Quantiles:
    """Counts of durations in milliseconds, from 1 microsecond to 7 minutes, in bins that are 1 % wide."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self._sum = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one duration; what is beyond the range counts as its end."""
        place = math.log(max(milliseconds, SMALLEST_MS) / SMALLEST_MS, STEP)
        self._counts[min(round(place), BINS - 1)] += 1
        self._sum += milliseconds

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._counts.sum())

    @property
    def mean(self) -> float:
        """Exact mean; NaN without any."""
        return self._sum / self.count if self.count else math.nan

    def quantile(self, share: float) -> float:
        """The smallest duration, within 0.5 %, that `share` (0-1) of all do not exceed; NaN without any."""
        if not self.count:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self._counts), share * self.count))
        return SMALLEST_MS * STEP ** min(place, BINS - 1)

    def as_json(self) -> dict[str, float] | None:
        """`p50` and `p90` in ms; None without any."""
        if not self.count:
            return None
        return {name: round(self.quantile(share), 3) for name, share in (("p50", 0.5), ("p90", 0.9))}


@dataclass
class Steadiness:
    """Share of face pixels whose label is that of the frame before, along the optical flow.

    Outlines may move by a pixel of the compared crop, which is SIDE pixels wide.
    """

    latest: float | None = None
    same: int = 0
    compared: int = 0
    _number: int = 0
    _before: tuple[np.ndarray, np.ndarray] | None = None

    def forget(self) -> None:
        """The next frame does not follow the one before."""
        self._before = None

    def add(self, picture: np.ndarray, parsed: ParsedFrame) -> None:
        """Look at the next frame; the first two of every EVERY frames are compared.

        Args:
            picture: (height, width, 3) RGB uint8; must not change before the next call.
            parsed: its faces and labels.
        """
        place = self._number % EVERY
        self._number += 1
        if place == 1 and self._before is not None and parsed.faces:
            self._compare(parsed.faces[0], *self._before, picture, parsed.labels)
        self._before = (picture, parsed.labels.copy()) if place == 0 else None

    @property
    def share(self) -> float | None:
        """Of all pixels compared so far, 0-1."""
        return self.same / self.compared if self.compared else None

    def _compare(
        self,
        face: TrackedFace,
        before: np.ndarray,
        labels_before: np.ndarray,
        now: np.ndarray,
        labels_now: np.ndarray,
    ) -> None:
        if before.shape != now.shape:
            return
        matrix = crop_matrix(face_square(face.box, MARGIN, 0.0), SIDE)
        frames = [cv2.warpAffine(frame, matrix, (SIDE, SIDE)) for frame in (before, now)]
        labels = [
            np.asarray(cv2.warpAffine(one, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST))
            for one in (labels_before, labels_now)
        ]
        match = match_frames(*frames)
        face_pixels = match.usable & ((labels[0] != BACKGROUND) | (labels[1] != BACKGROUND))
        count = int(face_pixels.sum())
        if not count:
            return
        changed = int((changed_pixels(labels[0], labels[1], match, TOLERANCE) & face_pixels).sum())
        self.same += count - changed
        self.compared += count
        share = 1 - changed / count
        self.latest = share if self.latest is None else (1 - NEWEST) * self.latest + NEWEST * share


@dataclass
class Agreement:
    """Pixels to which two files give the same label: all of the frames, and those that either calls face."""

    pixels: int = 0
    same: int = 0
    face: int = 0
    same_face: int = 0

    def add(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Count a frame; returns where the labels (height, width) differ, 255 or 0."""
        differs = cv2.compare(first, second, cv2.CMP_NE)
        face = cv2.countNonZero(cv2.bitwise_or(first, second))
        differing = cv2.countNonZero(differs)
        self.pixels += first.size
        self.same += first.size - differing
        # Where labels differ, one of them is face.
        self.face += face
        self.same_face += face - differing
        return differs

    @property
    def of_all(self) -> float | None:
        """Share (0-1) of all pixels."""
        return self.same / self.pixels if self.pixels else None

    @property
    def of_face(self) -> float | None:
        """Share (0-1) of the pixels that either file calls face."""
        return self.same_face / self.face if self.face else None

    def as_json(self) -> dict[str, float | None]:
        """Shares `pixels` and `face_pixels`, 0-1."""
        return {"pixels": rounded(self.of_all), "face_pixels": rounded(self.of_face)}


@dataclass
class Figures:
    """All figures of one demo.

    Attributes:
        captured: frames that came from the source.
        dropped: those of them that were never parsed, because a newer one was there.
        shown: frames that were shown, or processed where there is no window.
        seconds: from the first to the last of them.
        with_face: frames with a face.
        faces: most faces in a frame.
    """

    captured: int = 0
    dropped: int = 0
    shown: int = 0
    with_face: int = 0
    faces: int = 0
    glass: Quantiles = field(default_factory=Quantiles)
    stages: dict[str, Quantiles] = field(default_factory=dict)
    second: dict[str, Quantiles] = field(default_factory=dict)
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _glass_times: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _recent: dict[str, deque[float]] = field(default_factory=dict)
    _first: float | None = None
    _last: float = 0.0

    def add_stages(self, milliseconds: Mapping[str, float], second: Mapping[str, float], faces: int) -> None:
        """Times of one frame by stage, those of a second file, and how many faces it has."""
        self.with_face += bool(faces)
        self.faces = max(self.faces, faces)
        total = sum(milliseconds.values()) + sum(second.values())
        for stage, value in (*milliseconds.items(), (TOTAL, total)):
            self.stages.setdefault(stage, Quantiles()).add(value)
            self._recent.setdefault(stage, deque(maxlen=RECENT)).append(value)
        for stage, value in second.items():
            self.second.setdefault(stage, Quantiles()).add(value)

    def add_shown(self, now: float, arrival: float | None = None) -> None:
        """A frame was shown.

        Args:
            now: time in seconds.
            arrival: when the frame came from the source; None where that has no meaning.
        """
        self.shown += 1
        self._times.append(now)
        self._first = now if self._first is None else self._first
        self._last = now
        if arrival is not None:
            self.glass.add(1e3 * (now - arrival))
            self._glass_times.append(1e3 * (now - arrival))

    @property
    def seconds(self) -> float:
        """From the first frame shown to the last."""
        return self._last - self._first if self._first is not None else 0.0

    @property
    def rate(self) -> float | None:
        """Frames per second of the whole run."""
        return (self.shown - 1) / self.seconds if self.seconds > 0 else None

    @property
    def recent_rate(self) -> float | None:
        """Frames per second of the last RECENT frames."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    @property
    def recent_glass(self) -> float | None:
        """Mean milliseconds from arrival to display of the last RECENT frames."""
        return sum(self._glass_times) / len(self._glass_times) if self._glass_times else None

    def recent_stages(self) -> dict[str, float]:
        """Mean milliseconds of each stage over the last RECENT frames."""
        return {stage: sum(values) / len(values) for stage, values in self._recent.items()}

    def as_json(self) -> dict[str, Any]:
        """For `demo --json`; times in ms, shares 0-1."""
        return {
            "frames": {"captured": self.captured, "shown": self.shown, "dropped": self.dropped},
            "seconds": round(self.seconds, 3),
            "fps": None if self.rate is None else round(self.rate, 3),
            "glass_to_glass": self.glass.as_json(),
            "stages": {stage: values.as_json() for stage, values in self.stages.items()},
            "second_stages": {stage: values.as_json() for stage, values in self.second.items()},
            "faces": self.faces,
            "with_face": round(self.with_face / max(1, self.shown), 6),
        }


def rounded(value: float | None) -> float | None:
    """To six digits; None stays None."""
    return None if value is None else round(value, 6)
