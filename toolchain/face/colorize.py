"""Class labels as a colour overlay."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from toolchain.errors import UsageError

ALPHA = 0.55
BACKGROUND = (0,)


def colorize(
    picture: np.ndarray,
    labels: np.ndarray,
    palette: Sequence[tuple[int, int, int]],
    alpha: float = ALPHA,
    hidden: Collection[int] = BACKGROUND,
) -> np.ndarray:
    """Blend the colour of every pixel's class over a picture; outlines are smoothed over one pixel.

    Args:
        picture: (height, width, 3) RGB uint8; left as it is.
        labels: (height, width) uint8.
        palette: RGB (0-255) per label.
        alpha: opacity of the colours, 0-1.
        hidden: labels that are not drawn.

    Returns:
        (height, width, 3) RGB uint8.

    Raises:
        UsageError: `alpha` is outside of its range.
    """
    if not 0.0 <= alpha <= 1.0:
        raise UsageError(f"opacity {alpha} is not between 0 and 1", "0.5 shows both")
    opacity, colors = np.zeros(256, np.uint8), np.zeros((256, 3), np.uint8)
    for label, color in enumerate(palette):
        if label not in hidden:
            opacity[label], colors[label] = 255, color
    drawn = opacity[labels]
    result = picture.copy()
    left, top, width, height = cv2.boundingRect(drawn)
    if width == 0:
        return result
    # One pixel more on each side, into which the outline is smoothed.
    rows, columns = slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1)
    # Hidden pixels have no colour of their own: smoothing colour times opacity keeps their black out.
    weight = cv2.GaussianBlur(drawn[rows, columns], (3, 3), 0).astype(np.float32)[:, :, None] / 255
    color = cv2.GaussianBlur(colors[labels[rows, columns]], (3, 3), 0).astype(np.float32)
    below = picture[rows, columns].astype(np.float32)
    result[rows, columns] = np.rint(below * (1 - alpha * weight) + alpha * color)
    return result
