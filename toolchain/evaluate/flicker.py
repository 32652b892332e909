"""Counts of pixels that change their label between consecutive frames of a shot."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from toolchain.evaluate.follow import Crops
from toolchain.face.steadiness import changed_pixels, match_frames, moved_labels

# A label that is found within one pixel has moved with an outline rather than flickered.
NEAR = 1
BACKGROUND = 0


@dataclass(frozen=True)
class Flicker:
    """Counts over pairs of consecutive frames; `alone` is with an empty previous mask at every frame.

    Attributes:
        pairs: pairs of frames compared.
        moved: pairs left out because the region of interest moved between them.
        shown: pixels of the pairs in which the crop shows the picture.
        usable: those of them that the optical flow matches with the frame before.
        compared: those of them that belong to the face: not background, now or before, in either run.
        alone: compared pixels whose label changed.
        alone_far: those of them whose label was not within NEAR pixels before.
        in_turn: as `alone`, with the previous mask.
        in_turn_far: as `alone_far`, with the previous mask.
        same: compared pixels with the same label with and without the previous mask.
    """

    pairs: int = 0
    moved: int = 0
    shown: int = 0
    usable: int = 0
    compared: int = 0
    alone: int = 0
    alone_far: int = 0
    in_turn: int = 0
    in_turn_far: int = 0
    same: int = 0

    def __add__(self, other: Flicker) -> Flicker:
        return Flicker(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def as_json(self, takes_previous: bool) -> dict[str, Any]:
        """Shares in percent; null where nothing could be compared or there is no previous mask."""

        def with_mask(value: float | None) -> float | None:
            return value if takes_previous else None

        return {
            "pairs": self.pairs,
            "pairs_left_out": self.moved,
            "matched": percent(self.usable, self.shown),
            "compared_pixels": self.compared,
            "without_previous": percent(self.alone, self.compared),
            "with_previous": with_mask(percent(self.in_turn, self.compared)),
            "ratio": with_mask(ratio(self.in_turn, self.alone)),
            "without_previous_beyond_1px": percent(self.alone_far, self.compared),
            "with_previous_beyond_1px": with_mask(percent(self.in_turn_far, self.compared)),
            "ratio_beyond_1px": with_mask(ratio(self.in_turn_far, self.alone_far)),
            "same_label": with_mask(percent(self.same, self.compared)),
        }


def percent(part: int, whole: int) -> float | None:
    """Four digits; None of nothing."""
    return round(100 * part / whole, 4) if whole else None


def ratio(part: int, whole: int) -> float | None:
    """Four digits; 1 where neither changed, None where only the divisor is zero."""
    if not whole:
        return None if part else 1.0
    return round(part / whole, 4)


def count_flicker(crops: Crops, alone: np.ndarray, in_turn: np.ndarray) -> tuple[Flicker, np.ndarray]:
    """Compare the frames of a shot with the frames before them.

    Args:
        crops: of the shot.
        alone: labels (frames, size, size) uint8 without the previous mask.
        in_turn: labels with it.

    Returns:
        The counts, and per frame how many pixels changed without the previous mask.
    """
    total = Flicker()
    changes = np.zeros(len(crops), np.int64)
    for index in range(1, len(crops)):
        if not crops.holds_still(index):
            total += Flicker(moved=1)
            continue
        one = _pair(crops, alone, in_turn, index)
        changes[index] = one.alone
        total += one
    return total, changes


def _pair(crops: Crops, alone: np.ndarray, in_turn: np.ndarray, index: int) -> Flicker:
    inside = crops.inside[index]
    match = match_frames(crops.pictures[index - 1], crops.pictures[index], inside)
    face = np.zeros(inside.shape, bool)
    changed: list[int] = []
    for labels in (alone, in_turn):
        before, now = labels[index - 1], labels[index]
        face |= (now != BACKGROUND) | (moved_labels(before, match) != BACKGROUND)
        # What changes is not background in one of the two frames: all of it lies in the face.
        changed += [int(changed_pixels(before, now, match, tolerance).sum()) for tolerance in (0, NEAR)]
    face &= match.usable
    return Flicker(
        pairs=1,
        shown=int(inside.sum()),
        usable=int(match.usable.sum()),
        compared=int(face.sum()),
        alone=changed[0],
        alone_far=changed[1],
        in_turn=changed[2],
        in_turn_far=changed[3],
        same=int((face & (alone[index] == in_turn[index])).sum()),
    )
