"""Make-up: what is drawn over a parsed face, each effect a plain function on arrays.

An effect paints where the probability of its classes says so: the probabilities are interpolated to the
pixels of the picture, and a smooth rising function of them is the opacity. Outlines thus follow the face at
sub-pixel precision and move as smoothly as the probabilities. Where the function is 0, pixels keep their
values bit by bit; a class that is nowhere probable paints nothing.

Colours come from tables over the picture's luma (`toolchain.face.tones`): each entry has the hue of
the wanted colour and almost the lightness of the pixel, so that shading, folds and highlights remain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.colorize import ALPHA, blend, check_share, lay_over, target
from toolchain.face.coverage import (
    Coverage,
    Lead,
    box_in_picture,
    coverage,
    interpolated,
    ramp,
    smoothing,
    widened,
)
from toolchain.face.tones import recolored

Color = tuple[int, int, int]

UPPER_LIP, INNER_MOUTH, LOWER_LIP = "upper lip", "inner mouth", "lower lip"
BACKGROUND, SKIN, NOSE = "background", "skin", "nose"
BROWS = ("left brow", "right brow")
EYES = ("left eye", "right eye")

# Probabilities between which the opacity rises from 0 to full; symmetric about 1/2 for `mask`, so that two
# classes that meet have full opacity together.
MASK_EDGE = (0.2, 0.8)
LIP_EDGE, BROW_EDGE, SKIN_EDGE = (0.3, 0.8), (0.3, 0.9), (0.4, 1.0)
# Softness of the outlines: deviation of a Gaussian in pixels of the crop.
MASK_FEATHER, LIP_FEATHER, BROW_FEATHER, SKIN_FEATHER = 0.7, 1.3, 1.8, 2.5

# How far the lightness moves towards the colour's own, see `tones`; and the strength of a tint.
LIP_SHIFT, BROW_SHIFT, TINT_SHIFT, TINT_SHARE = 0.6, 0.5, 0.05, 0.35

LIPSTICK_COLOR, BROW_COLOR = (176, 24, 56), (58, 40, 30)

# Skin smoothing: radius of the window in units of the crop's side, and the contrast in 8-bit steps that
# counts as an edge.
SMOOTH_RADIUS, EDGE_CONTRAST = 0.018, 14.0

# Background blur: its deviation in units of the picture's longer side. The picture is shrunk before it as
# long as the deviation stays above so many pixels.
BLUR, BLUR_PIXELS = 0.018, 2.8
# The oval that stays sharp, in semi-axes of the ellipse that has the face's moments: half-width, half-height,
# and how far its centre lies above the face's. The second one is for the shoulders, below.
HEAD = (1.6, 1.75, 0.3)
SHOULDERS = (2.6, 1.7, -2.6)
# Squared distance from the centre, in semi-axes, over which sharp becomes blurred.
HEAD_EDGE = (0.9, 1.7)


@dataclass(frozen=True)
class Face:
    """A parsed face.

    Attributes:
        probabilities: (classes, size, size) float32 of its crop.
        matrix: (2, 3), pixels of the picture to those of the crop.
        labels: class names, in the order of the probabilities.
        palette: RGB (0-255) per class.
    """

    probabilities: np.ndarray
    matrix: np.ndarray
    labels: tuple[str, ...]
    palette: tuple[Color, ...] = ()

    def plane(self, *names: str) -> np.ndarray:
        """(size, size) float32: probability of any of the named classes.

        Raises:
            UnsupportedError: the network has no such class.
        """
        missing = [name for name in names if name not in self.labels]
        if missing:
            raise UnsupportedError(
                f"this network has no class '{missing[0]}'",
                f"its classes are {', '.join(self.labels)}",
            )
        first, *others = (self.probabilities[self.labels.index(name)] for name in names)
        for other in others:
            first = cv2.add(first, other)
        return first


def mask(
    picture: np.ndarray,
    face: Face,
    color: Color | None = None,
    strength: float = ALPHA,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The palette's flat colours over all classes but the background.

    Args:
        picture: (height, width, 3) RGB uint8; left as it is unless it is also `out`.
        face: with a palette, unless there is a colour.
        color: RGB for all classes; None for the palette.
        strength: opacity, 0-1.
        out: where the result goes; may be `picture`. None for a new array.

    Returns:
        (height, width, 3) RGB uint8.

    Raises:
        UsageError: the strength is out of range, or there is neither a palette nor a colour.
    """
    check_share(strength, "strength")
    result = target(picture, out)
    palette = face.palette if color is None else (color,) * len(face.labels)
    if len(palette) != len(face.labels):
        raise UsageError(f"{len(face.labels)} classes have {len(palette)} colours", "give one per class")
    low, high = MASK_EDGE
    # Where the background is all but certain, no other class reaches the edge.
    inside = cv2.boundingRect((face.plane(BACKGROUND) < 1 - low).view(np.uint8))
    deviation = math.hypot(MASK_FEATHER, smoothing(face.matrix))
    box = box_in_picture(inside, face.matrix, picture.shape, 1 + 3 * deviation)
    if box is None or strength == 0:
        return result
    margin = math.ceil(4 * deviation) + 1
    left, top, width, height = widened(inside, face.probabilities.shape[1], margin)
    shares = np.empty((len(palette), height, width), np.uint8)
    for plane, share in zip(face.probabilities, shares, strict=True):
        ramp(plane[top : top + height, left : left + width], low, high, share)
    # Red, green, blue and opacity of each class; the background has none.
    mixing = np.array([[*color, 255] for color in palette], np.float32).T / np.float32(255)
    mixing[:, face.labels.index(BACKGROUND)] = 0
    mixed = mixing @ shares.reshape(len(palette), -1).astype(np.float32)
    layers = cv2.transpose(cv2.convertScaleAbs(mixed)).reshape(height, width, 4)
    layers = cv2.GaussianBlur(layers, (0, 0), deviation)
    rows, columns = box
    local = face.matrix - np.array([[0.0, 0.0, left], [0.0, 0.0, top]])
    moved = interpolated(layers, local, rows, columns)
    opacity = cv2.extractChannel(moved, 3)
    lay_over(result[rows, columns], cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB), opacity, strength)
    return result


def lipstick(
    picture: np.ndarray,
    face: Face,
    color: Color | None = None,
    strength: float = 0.7,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Colour the lips and keep their shading; teeth and tongue are left as they are.

    Where the inner mouth is more probable than either lip, no pixel changes. Arguments as for `mask`; the
    colour is LIPSTICK_COLOR by default.

    Raises:
        UsageError: the strength is out of range.
        UnsupportedError: the network has no lips.
    """
    check_share(strength, "strength")
    lips = Lead(rivals=(face.plane(UPPER_LIP), face.plane(LOWER_LIP)), never=face.plane(INNER_MOUTH))
    plane = face.plane(UPPER_LIP, LOWER_LIP)
    covered = coverage(plane, face.matrix, picture.shape, LIP_EDGE, strength, LIP_FEATHER, lips)
    return _painted(target(picture, out), covered, color or LIPSTICK_COLOR, LIP_SHIFT)


def brows(
    picture: np.ndarray,
    face: Face,
    color: Color | None = None,
    strength: float = 0.6,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Colour the brows. Arguments and errors as for `lipstick`; the colour is BROW_COLOR by default."""
    check_share(strength, "strength")
    plane = face.plane(*BROWS)
    covered = coverage(plane, face.matrix, picture.shape, BROW_EDGE, strength, BROW_FEATHER)
    return _painted(target(picture, out), covered, color or BROW_COLOR, BROW_SHIFT)


def skin(
    picture: np.ndarray,
    face: Face,
    color: Color | None = None,
    strength: float = 0.7,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Smooth the skin and keep its edges; with a colour, tint it too.

    The filter is the guided filter, guided by each channel itself (He, Sun and Tang, ECCV 2010), computed at
    half the size (He and Sun, "Fast guided filter", arXiv:1505.00996). Beards that the network calls skin
    keep what contrast they have beyond EDGE_CONTRAST. Arguments and errors as for `lipstick`; no colour by
    default.
    """
    check_share(strength, "strength")
    result = target(picture, out)
    plane = face.plane(SKIN, NOSE)
    covered = coverage(plane, face.matrix, picture.shape, SKIN_EDGE, strength, SKIN_FEATHER)
    if covered is None:
        return result
    part = result[covered.rows, covered.columns]
    pixels_of_crop = face.probabilities.shape[1] / math.sqrt(abs(float(np.linalg.det(face.matrix[:, :2]))))
    smooth = _smoothed(part, SMOOTH_RADIUS * pixels_of_crop)
    if color is not None:
        tint = recolored(smooth, color, TINT_SHIFT)
        smooth = cv2.addWeighted(smooth, 1 - TINT_SHARE, tint, TINT_SHARE, 0)
    blend(part, smooth, covered.opacity)
    return result


def blur(
    picture: np.ndarray,
    faces: Sequence[Face],
    strength: float = 1.0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Blur what is far from the faces.

    The network knows neither hair nor bodies. An oval around each face, about twice as high and wide, and
    another one for the shoulders stay sharp and fade into the blur: it is no cut-out of the person, the ends
    of long hair and what a hand holds are blurred, and background close to the head is not. The ovals follow
    the first and second moments of the face's probabilities.

    Args:
        picture: (height, width, 3) RGB uint8; left as it is unless it is also `out`.
        faces: all faces of the picture; without any, nothing is blurred.
        strength: share of the blurred picture in the background, 0-1.
        out: where the result goes; may be `picture`. None for a new array.

    Returns:
        (height, width, 3) RGB uint8.

    Raises:
        UsageError: the strength is out of range.
        UnsupportedError: the network has no background.
    """
    check_share(strength, "strength")
    result = target(picture, out)
    height, width = picture.shape[:2]
    deviation = BLUR * max(height, width)
    shrink = max(1, int(deviation / BLUR_PIXELS))
    small = (math.ceil(width / shrink), math.ceil(height / shrink))
    sharp = np.zeros(small[::-1], np.float32)
    found = False
    for face in faces:
        oval = _moments(face)
        if oval is not None:
            found = True
            for shape in (HEAD, SHOULDERS):
                np.maximum(sharp, _inside(oval, shape, small, (width, height)), out=sharp)
    if not found or strength == 0:
        return result
    away = cv2.resize(np.rint(255 * strength * (1 - sharp)).astype(np.uint8), (width, height))
    shrunk = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(shrunk, (0, 0), deviation / shrink), (width, height))
    blend(result, blurred, away)
    return result


def _painted(result: np.ndarray, covered: Coverage | None, color: Color, shift: float) -> np.ndarray:
    """Another colour with the same shading, in place."""
    if covered is not None:
        part = result[covered.rows, covered.columns]
        blend(part, recolored(part, color, shift), covered.opacity)
    return result


def _smoothed(pixels: np.ndarray, radius: float) -> np.ndarray:
    """Guided filter of RGB uint8 pixels by themselves; `radius` in pixels."""
    height, width = pixels.shape[:2]
    half = (max(1, width // 2), max(1, height // 2))
    small = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA).astype(np.float32)
    side = 2 * max(1, round(radius / 2)) + 1
    mean = cv2.blur(small, (side, side))
    variance = cv2.blur(cv2.multiply(small, small), (side, side)) - cv2.multiply(mean, mean)
    slope = np.maximum(variance, 0)
    slope /= slope + np.float32(EDGE_CONTRAST**2)
    slope, offset = cv2.blur(slope, (side, side)), cv2.blur(cv2.multiply(mean, 1 - slope), (side, side))
    lines = (cv2.resize(plane, (width, height)) for plane in (slope, offset))
    return np.clip(
        np.rint(cv2.add(cv2.multiply(next(lines), pixels, dtype=cv2.CV_32F), next(lines))), 0, 255
    ).astype(np.uint8)


def _moments(face: Face) -> tuple[np.ndarray, np.ndarray] | None:
    """Ellipse with the moments of the face, in pixels of the picture.

    Returns:
        Centre (x, y), and (2, 2) whose diagonal has the squares of half-width and half-height; None where
        there is no face.
    """
    moments = cv2.moments(1 - face.plane(BACKGROUND))
    if moments["m00"] < 1:
        return None
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    spread = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]])
    back = cv2.invertAffineTransform(face.matrix)
    # Each half-axis of a filled ellipse is twice its standard deviation.
    spread = 4 * spread / moments["m00"]
    return back[:, :2] @ centre + back[:, 2], back[:, :2] @ spread @ back[:, :2].T


def _inside(
    oval: tuple[np.ndarray, np.ndarray],
    shape: tuple[float, float, float],
    small: tuple[int, int],
    whole: tuple[int, int],
) -> np.ndarray:
    """(height, width) float32 of the shrunk picture: 1 inside of an oval about the face, 0 far from it."""
    (x, y), spread = oval
    half_width, half_height = math.sqrt(spread[0, 0]), math.sqrt(spread[1, 1])
    wide, high, up = shape
    across = (np.arange(small[0], dtype=np.float32) + 0.5) * (whole[0] / small[0]) - 0.5
    down = (np.arange(small[1], dtype=np.float32) + 0.5) * (whole[1] / small[1]) - 0.5
    across = ((across - np.float32(x)) / np.float32(wide * half_width)) ** 2
    down = ((down - np.float32(y - up * half_height)) / np.float32(high * half_height)) ** 2
    near, far = HEAD_EDGE
    share = np.clip((far - (down[:, None] + across[None])) / np.float32(far - near), 0, 1)
    return share * share * (3 - 2 * share)


@dataclass(frozen=True)
class Effect:
    """An effect of the command line.

    Attributes:
        about: one line for listings.
        apply: (picture, faces, color, strength, out) -> picture, for all faces of a picture; None for the
            colour or the strength is the effect's own.
        colored: whether it takes a colour.
    """

    about: str
    apply: Callable[[np.ndarray, Sequence[Face], Color | None, float | None, np.ndarray | None], np.ndarray]
    colored: bool = True


def _each(paint: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """An effect on one face as one on all faces of a picture."""

    def apply(
        picture: np.ndarray,
        faces: Sequence[Face],
        color: Color | None = None,
        strength: float | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        result = target(picture, out)
        given = {} if strength is None else {"strength": strength}
        for face in faces:
            paint(result, face, color, **given, out=result)
        return result

    return apply


def _blur_all(
    picture: np.ndarray,
    faces: Sequence[Face],
    color: Color | None = None,
    strength: float | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    if color is not None:
        raise UsageError("the effect 'blur' has no colour", "leave the colour out")
    return blur(picture, faces, out=out, **({} if strength is None else {"strength": strength}))


EFFECTS = {
    "mask": Effect("flat colours of the classes", _each(mask)),
    "lipstick": Effect("colour on the lips", _each(lipstick)),
    "brows": Effect("colour on the brows", _each(brows)),
    "skin": Effect("smoother skin, tinted where a colour is given", _each(skin)),
    "blur": Effect("blur beyond an oval around head and shoulders; hair is not cut out", _blur_all, False),
}


def effect(name: str) -> Effect:
    """The effect of that name.

    Raises:
        UsageError: there is none; the hint names those that exist.
    """
    if name not in EFFECTS:
        raise UsageError(f"unknown effect '{name}'", f"effects are {', '.join(EFFECTS)}")
    return EFFECTS[name]
