"""How steady label maps are from frame to frame, and how soon they recover after a cut.

Label maps are compared along the optical flow: what moves with the picture does not flicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

# A point is matched when forward and backward flow cancel: |w + w'|^2 < 0.01 (|w|^2 + |w'|^2) + 0.5 pixels
# (Sundaram, Brox, Keutzer: Dense point trajectories by GPU-accelerated large displacement optical flow,
# ECCV 2010).
RELATIVE, ABSOLUTE = 0.01, 0.5


@dataclass(frozen=True)
class Match:
    """Where each pixel of a frame lay in the frame before.

    Attributes:
        rows: (height, width) row in the frame before, rounded to the nearest pixel.
        columns: the same for the column.
        usable: (height, width) bool; False where the flow is not consistent or leads out of the picture.
    """

    rows: np.ndarray
    columns: np.ndarray
    usable: np.ndarray


@cache
def _dis() -> Any:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def match_frames(before: np.ndarray, now: np.ndarray, inside: np.ndarray | None = None) -> Match:
    """Match two frames by dense inverse search (Kroeger et al., ECCV 2016), there and back.

    Args:
        before: (height, width, 3) RGB uint8.
        now: the next frame, of the same size.
        inside: (height, width) bool, where both frames show a picture; None for everywhere.
    """
    first, second = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, now))
    back, forth = _dis().calc(second, first, None), _dis().calc(first, second, None)
    height, width = first.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    there_x, there_y = x + back[..., 0], y + back[..., 1]
    returned = cv2.remap(forth, there_x, there_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    apart = ((back + returned) ** 2).sum(2)
    usable = apart < RELATIVE * ((back**2).sum(2) + (returned**2).sum(2)) + ABSOLUTE
    columns, rows = np.rint(there_x).astype(np.intp), np.rint(there_y).astype(np.intp)
    usable &= (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    if inside is not None:
        usable &= inside & inside[rows, columns]
    return Match(rows, columns, usable)


def moved_labels(before: np.ndarray, match: Match) -> np.ndarray:
    """Labels (height, width) of the frame before where they lie now, by nearest sampling."""
    return before[match.rows, match.columns]


def changed_pixels(before: np.ndarray, now: np.ndarray, match: Match, tolerance: int = 0) -> np.ndarray:
    """Usable pixels whose label is not that of the frame before.

    Args:
        before: labels (height, width) uint8 below 32, of the frame before.
        now: labels of this frame.
        match: of the two frames.
        tolerance: how many pixels away the label may be found in the frame before. At 0 an outline that moves
            by a fraction of a pixel counts, which no label map can avoid.

    Returns:
        (height, width) bool.
    """
    if tolerance == 0:
        return match.usable & (moved_labels(before, match) != now)
    near = np.left_shift(np.uint32(1), before.astype(np.uint32))
    for axis in (0, 1):
        spare = [(tolerance, tolerance) if axis == other else (0, 0) for other in (0, 1)]
        wide = np.pad(near, spare)
        size = before.shape[axis]
        near = np.bitwise_or.reduce([wide.take(range(k, k + size), axis) for k in range(2 * tolerance + 1)])
    known = near[match.rows, match.columns] >> now.astype(np.uint32)
    return match.usable & (known & 1 == 0)


def face_agreement(first: np.ndarray, second: np.ndarray, background: int = 0) -> float:
    """Share (0-1) of pixels with the same label among those that are not background in both label maps.

    1 where both are all background: they agree.
    """
    face = (first != background) | (second != background)
    return float((first == second)[face].mean()) if face.any() else 1.0


def frames_to_recover(after: Sequence[float], steady: Sequence[float], tolerance: float) -> int | None:
    """How many frames after a cut are worse than without the cut: the first frame from which on none is.

    Args:
        after: quality of the masks of consecutive frames after the cut.
        steady: quality of the masks of the same frames without the cut.
        tolerance: how much worse still counts as equal.

    Returns:
        0 when the first frame already is as good; None when the last one given is still worse.
    """
    worse = [index for index, (a, s) in enumerate(zip(after, steady, strict=True)) if a < s - tolerance]
    if not worse:
        return 0
    return None if worse[-1] == len(after) - 1 else worse[-1] + 1
