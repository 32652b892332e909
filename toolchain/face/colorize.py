"""Class labels as a colour overlay, and the blend that every overlay ends in.

Pictures are blended in whole numbers, and only in the box of pixels that change: where the weight is 0 they
keep their values bit by bit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from toolchain.errors import UsageError

ALPHA = 0.55
BACKGROUND = (0,)
FULL = 255


def colorize(
    picture: np.ndarray,
    labels: np.ndarray,
    palette: Sequence[tuple[int, int, int]],
    alpha: float = ALPHA,
    hidden: Collection[int] = BACKGROUND,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Blend the colour of every pixel's class over a picture; outlines are smoothed over one pixel.

    Args:
        picture: (height, width, 3) RGB uint8; left as it is unless it is also `out`.
        labels: (height, width) uint8.
        palette: RGB (0-255) per label.
        alpha: opacity of the colours, 0-1.
        hidden: labels that are not drawn.
        out: where the result goes, of the same shape and element type; may be `picture`.

    Returns:
        (height, width, 3) RGB uint8, within 1 of the exact blend: `out`, or a new array without one.

    Raises:
        UsageError: `alpha` is outside of its range.
    """
    check_share(alpha, "opacity")
    opacity, colors = np.zeros(256, np.uint8), np.zeros((256, 1, 3), np.uint8)
    for label, color in enumerate(palette):
        if label not in hidden:
            opacity[label], colors[label] = FULL, color
    result = target(picture, out)
    # Labels other than 0 end where the box of non-zero bytes ends.
    left, top, width, height = (
        (0, 0, *labels.shape[::-1]) if opacity[0] else cv2.boundingRect(np.ascontiguousarray(labels))
    )
    # One pixel more on each side, into which the outline is smoothed, and one that is mirrored at the border.
    rows, columns = slice(max(top - 2, 0), top + height + 2), slice(max(left - 2, 0), left + width + 2)
    part = np.ascontiguousarray(labels[rows, columns])
    drawn = cv2.LUT(part, opacity) if width else part
    if not drawn.any():
        return result
    # Hidden pixels have no colour of their own: smoothing colour times opacity keeps their black out.
    weight = cv2.GaussianBlur(drawn, (3, 3), 0)
    smooth = cv2.GaussianBlur(cv2.applyColorMap(part, colors), (3, 3), 0)
    lay_over(result[rows, columns], smooth, weight, alpha)
    return result


def lay_over(below: np.ndarray, color: np.ndarray, opacity: np.ndarray, alpha: float) -> None:
    """below * (1 - alpha * opacity) + alpha * color, in place.

    Args:
        below: (height, width, 3) uint8, changed.
        color: the same, already multiplied by `opacity`: no channel exceeds it.
        opacity: (height, width) uint8, 255 is opaque.
        alpha: share of the whole overlay, 0-1.
    """
    share = round(alpha * FULL)
    remains = _three(cv2.convertScaleAbs(opacity, alpha=-share / FULL, beta=FULL))
    mixed = np.multiply(color, np.uint16(share), dtype=np.uint16)
    _rounded_mix(below, remains, mixed)


def blend(below: np.ndarray, above: np.ndarray, weight: np.ndarray) -> None:
    """round((below * (255 - weight) + above * weight) / 255), in place.

    Args:
        below: (height, width, 3) uint8, changed.
        above: the same, left as it is.
        weight: (height, width) uint8; 0 leaves a pixel as it is, 255 replaces it.
    """
    mixed = np.multiply(above, _three(weight), dtype=np.uint16)
    _rounded_mix(below, _three(cv2.bitwise_not(weight)), mixed)


def _rounded_mix(below: np.ndarray, remains: np.ndarray, mixed: np.ndarray) -> None:
    """below = round((below * remains + mixed) / 255); the sum stays below 2^16 as both weights add up to 255.

    With t = x + 128, (t + t / 256) / 256 in whole numbers is x / 255 rounded (Blinn, "Three wrongs make a
    right", IEEE Computer Graphics and Applications 1995).
    """
    mixed += np.multiply(below, remains, dtype=np.uint16)
    mixed += np.uint16(128)
    mixed += mixed >> 8
    mixed >>= 8
    np.copyto(below, mixed, casting="unsafe")


def _three(plane: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB)


def target(picture: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """A copy of the picture to draw on: in `out`, or a new array without one.

    Raises:
        UsageError: `out` is no array like the picture.
    """
    if out is None:
        return picture.copy()
    if out.shape != picture.shape or out.dtype != picture.dtype:
        raise UsageError(
            f"the result has shape {out.shape} ({out.dtype}), the picture {picture.shape} ({picture.dtype})",
            "give an array like the picture, or the picture itself",
        )
    if out is not picture:
        np.copyto(out, picture)
    return out


def check_share(value: float, name: str) -> None:
    """Raises UsageError when a value is not between 0 and 1."""
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"{name} {value} is not between 0 and 1", "0.5 shows both")
