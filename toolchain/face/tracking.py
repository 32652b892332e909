"""Where a face is by its own mask, whether that can be trusted, and a region that holds still around it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from toolchain.face.clip import AHEAD, DRIFT, GROWTH
from toolchain.face.landmarks import (
    SIDE_BY_SPREAD,
    UP_FROM_CENTROID,
    UP_FROM_FACE,
    Point,
    box_around,
    centre_of,
    side_of,
)
from toolchain.face.region import BACKGROUND, Box

# Classes by the words in their names; what is neither is not looked at (hair, glasses).
EYE, BROW, NOSE, MOUTH, SKIN = ("eye",), ("brow",), ("nose",), ("lip", "mouth"), ("skin",)
LIKELY = 0.5
# All in units of the box's side, or of its area; on CelebAMask-HQ a face covers 0.75 of the box.
LEAST_FACE, LEAST_PART = 0.2, 4e-4
# A face between two frames does not grow or shrink by more than this.
JUMP = 1.5
# Mean probability of "face" over the pixels where it is likely; 0.97 and more on the clips.
LEAST_CONFIDENCE = 0.85
# Share of the outline of what the crop shows of the picture that may be face.
OUTLINE = 0.05
# By how much a detector's box may correct those of later masks: side, and centre in units of the side.
MOST_SCALE, MOST_SHIFT = 1.25, 0.12
# Boxes that are remembered for the speed of a face.
REMEMBERED = 5


@dataclass(frozen=True)
class MaskFace:
    """A face as its mask shows it.

    Attributes:
        box: as the cascade would draw it, in pixels of the picture.
        confidence: mean probability (0-1) of "face" over the pixels where it is likely.
        lost: why there is no face to follow; "" when there is one.
        doubt: why a detector should have a look; "" when there is no reason.
    """

    box: Box
    confidence: float
    lost: str = ""
    doubt: str = ""


class MaskReader:
    """Finds the face in class probabilities.

    Args:
        labels: class names; those of facial parts are known by the words in them.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        eyes = _named(labels, EYE)
        self._points = [[index] for index in eyes] + [_named(labels, NOSE), _named(labels, MOUTH)]
        self._kinds = [eyes, _named(labels, NOSE), _named(labels, MOUTH)]
        known = [index for words in (SKIN, EYE, BROW, NOSE, MOUTH) for index in _named(labels, words)]
        self._face = sorted(set(known))
        self._only_face = len(self._face) == len(labels) - 1
        self._points = [kind for kind in self._points if kind]
        self._kinds = [kind for kind in self._kinds if kind]

    def read(
        self, probabilities: np.ndarray, matrix: np.ndarray, box: Box, shape: tuple[int, ...]
    ) -> MaskFace:
        """The face in the answer to one crop.

        Args:
            probabilities: (classes, size, size) float32.
            matrix: (2, 3), picture to crop.
            box: where the face was when the crop was made.
            shape: height and width of the picture, and anything after them.
        """
        scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        unit = side_of(box) * scale
        face = _blob(self._face_plane(probabilities))
        if face is None or face.area < LEAST_FACE * unit**2:
            return MaskFace(box, 0.0, lost="the mask shows hardly any face")
        parts = [_blob(_sum(probabilities, indices)) for indices in self._points]
        seen = [part for part in parts if part is not None and part.area >= LEAST_PART * unit**2]
        side = SIDE_BY_SPREAD * face.spread
        if self._points and len(seen) == len(parts):
            middle = sum(part.x for part in seen) / len(seen), sum(part.y for part in seen) / len(seen)
            up = UP_FROM_CENTROID
        else:
            middle, up = (face.x, face.y), UP_FROM_FACE
        inverse = cv2.invertAffineTransform(matrix)
        centre = inverse @ (middle[0], middle[1] - up * side, 1.0)
        found = box_around((float(centre[0]), float(centre[1])), side / scale)
        kinds = sum(
            any(
                part is not None and part.area >= LEAST_PART * unit**2
                for indices, part in zip(self._points, parts, strict=True)
                if indices[0] in kind
            )
            for kind in self._kinds
        )
        lost = ""
        if kinds < min(2, len(self._kinds)):
            lost = "the mask has no eyes, nose or mouth"
        elif not 1 / JUMP <= side / unit <= JUMP:
            lost = "the mask changed its size abruptly"
        elif face.confidence < LEAST_CONFIDENCE:
            lost = "the mask is not sure"
        doubt = ""
        if _on_outline(face.likely, matrix, shape) > 4 * OUTLINE * probabilities.shape[1]:
            doubt = "the mask reaches the edge of the region or of the picture"
        return MaskFace(found, face.confidence, lost, doubt)

    def _face_plane(self, probabilities: np.ndarray) -> np.ndarray:
        if self._only_face:
            return cv2.subtract(1.0, probabilities[BACKGROUND])  # type: ignore[call-overload]
        return _sum(probabilities, self._face)


@dataclass(frozen=True)
class _Blob:
    """Pixels where something is likely (255, else 0): area, centroid, spread, and mean probability there."""

    area: float
    x: float
    y: float
    spread: float
    confidence: float
    likely: np.ndarray


def _named(labels: Sequence[str], words: tuple[str, ...]) -> list[int]:
    """Classes with one of the words in their names; an eyebrow is no eye."""
    return [
        index
        for index, label in enumerate(labels)
        if index != BACKGROUND
        and any(word in label.lower() for word in words)
        and (words == BROW or "brow" not in label.lower())
    ]


def _sum(probabilities: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    first, *others = (probabilities[index] for index in indices)
    for other in others:
        first = cv2.add(first, other)
    return first


def _blob(plane: np.ndarray) -> _Blob | None:
    likely = cv2.compare(plane, LIKELY, cv2.CMP_GE)  # type: ignore[call-overload]
    x, y, width, height = cv2.boundingRect(likely)
    if width == 0:
        return None
    part = likely[y : y + height, x : x + width]
    moments = cv2.moments(part, binaryImage=True)
    area = moments["m00"]
    confidence = cv2.mean(plane[y : y + height, x : x + width], part)[0]
    spread = float(np.sqrt((moments["mu20"] + moments["mu02"]) / area))
    return _Blob(area, x + moments["m10"] / area, y + moments["m01"] / area, spread, confidence, likely)


def _on_outline(likely: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> int:
    """How many pixels of a mask lie on the outline of what the (upright) crop shows of the picture."""
    size = likely.shape[0]
    corners = matrix @ np.array([[0.0, shape[1] - 1], [0.0, shape[0] - 1], [1.0, 1.0]])
    (left, right), (top, bottom) = np.clip(np.rint(corners), 0, size - 1).astype(int).tolist()
    lines = likely[top], likely[bottom], likely[:, left], likely[:, right]
    return sum(cv2.countNonZero(line) for line in lines)


class HeldBox:
    """A face box that stays while the face is near: labels in a region that shakes would flicker.

    Attributes:
        box: the one to make the region from.
    """

    def __init__(self, box: Box) -> None:
        self.box = box_around(centre_of(box), side_of(box))
        self._latest: deque[tuple[float, float, float]] = deque(maxlen=REMEMBERED)

    def follow(self, box: Box) -> bool:
        """Take the newest box; says whether the region moves."""
        x, y = centre_of(box)
        side = side_of(box)
        self._latest.append((x, y, side))
        if not self.is_off(box):
            return False
        # Met halfway, a face that moves steadily moves the region half as often.
        reach = DRIFT / 2 * side
        (first_x, first_y, _), steps = self._latest[0], max(1, len(self._latest) - 1)
        ahead = AHEAD / 2 / steps
        x += float(np.clip((x - first_x) * ahead, -reach, reach))
        y += float(np.clip((y - first_y) * ahead, -reach, reach))
        self.box = box_around((x, y), side)
        return True

    def is_off(self, box: Box) -> bool:
        """Whether a face there is too far from the middle of the region, or of another size."""
        (x, y), (held_x, held_y) = centre_of(box), centre_of(self.box)
        held = side_of(self.box)
        return (
            max(abs(x - held_x), abs(y - held_y)) > DRIFT * held
            or not 1 / GROWTH <= side_of(box) / held <= GROWTH
        )


@dataclass(frozen=True)
class Correction:
    """What a detector says differently from the mask of the same frame, for the masks to come.

    Attributes:
        scale: side of the detector's box in units of that of the mask's.
        shift: from the centre of the mask's box to that of the detector's, in units of the mask's side.
    """

    scale: float = 1.0
    shift: Point = (0.0, 0.0)

    @classmethod
    def between(cls, mask: Box, detected: Box) -> Correction:
        """From two boxes of one face, within limits: a single detection may be wrong."""
        side, (x, y), (to_x, to_y) = side_of(mask), centre_of(mask), centre_of(detected)
        scale = float(np.clip(side_of(detected) / side, 1 / MOST_SCALE, MOST_SCALE))
        shift = tuple(np.clip(((to_x - x) / side, (to_y - y) / side), -MOST_SHIFT, MOST_SHIFT).tolist())
        return cls(scale, (shift[0], shift[1]))

    def applied(self, mask: Box) -> Box:
        """The box that the detector would draw."""
        side, (x, y) = side_of(mask), centre_of(mask)
        return box_around((x + self.shift[0] * side, y + self.shift[1] * side), self.scale * side)


def overlap(first: Box, second: Box) -> float:
    """Intersection over union (0-1)."""
    wide = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    high = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    shared = max(0.0, wide) * max(0.0, high)
    return min(1.0, shared / (first.width * first.height + second.width * second.height - shared))
