"""From eyes and mouth, or from a mask, to the box that the bundled cascade would draw.

The contract gives the region of interest in units of that box, so every other way to find a face has to speak
of the same box. The factors are medians over 872 pictures of CelebAMask-HQ (all of the validation part, every
eighth one of the training part) in which the cascade finds a face; points are centroids of the annotated
parts.
"""

from __future__ import annotations

import math

from toolchain.face.region import Box

Point = tuple[float, float]

# Side of the box in units of the hypotenuse of two lengths: between the eyes, and from the point midway
# between them to the mouth. 10th to 90th percentile: 0.92 to 1.10 of the median.
SIDE_BY_POINTS = 1.742
# How far the centre of the box lies from the point midway between eyes and mouth, towards the eyes, in units
# of its side.
UP_FROM_POINTS = 0.0955
# Side of the box in units of the standard deviation of the face's pixels, both axes together (0.92 to 1.13).
# Between frames of a clip this follows the cascade more closely than the points do: 3 % against 3 to 7 %.
SIDE_BY_SPREAD = 2.760
# Height of the box's centre above the centroid of eyes, nose and mouth, and above that of the whole face.
UP_FROM_CENTROID, UP_FROM_FACE = 0.029, 0.002


def box_of_landmarks(one_eye: Point, other_eye: Point, mouth: Point) -> Box:
    """The box of a face whose eyes and mouth are known, in pixels.

    Args:
        one_eye: centre of one eye, (x, y).
        other_eye: centre of the other one.
        mouth: centre of the mouth.
    """
    eyes = (one_eye[0] + other_eye[0]) / 2, (one_eye[1] + other_eye[1]) / 2
    down = mouth[0] - eyes[0], mouth[1] - eyes[1]
    across = one_eye[0] - other_eye[0], one_eye[1] - other_eye[1]
    side = SIDE_BY_POINTS * math.hypot(*across, *down)
    length = math.hypot(*down) or 1.0
    up = UP_FROM_POINTS * side / length
    return box_around((eyes[0] + down[0] * 0.5 - up * down[0], eyes[1] + down[1] * 0.5 - up * down[1]), side)


def box_around(centre: Point, side: float) -> Box:
    """The square box with that centre."""
    return Box(centre[0] - side / 2, centre[1] - side / 2, side, side)


def centre_of(box: Box) -> Point:
    """Centre of a box."""
    return box.x + box.width / 2, box.y + box.height / 2


def side_of(box: Box) -> float:
    """The longer side of a box, in which the contract's lengths are given."""
    return max(box.width, box.height)
