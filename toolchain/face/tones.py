"""A colour at every lightness: the table by which make-up replaces a colour and keeps shading."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

# Lightness (CIE L*, 0-100) that counts as neither light nor dark, and the largest shift of lightness; at 25
# a table would stop rising.
MIDDLE_LIGHTNESS, LARGEST_SHIFT = 55.0, 20.0
# How much more colourful than the wanted colour a lighter pixel becomes at most.
LARGEST_GAIN = 1.0

# Linear RGB with the primaries of sRGB to CIE XYZ, white point D65 (IEC 61966-2-1).
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)
HALVINGS = 20


def recolored(pixels: np.ndarray, color: tuple[int, int, int], shift: float) -> np.ndarray:
    """Pixels in another colour that keep their shading.

    Args:
        pixels: (height, width, 3) RGB uint8.
        color: RGB, 0-255.
        shift: how far the lightness of middle grey moves towards the colour's own, 0-1.

    Returns:
        (height, width, 3) RGB uint8.
    """
    return cv2.applyColorMap(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), tones(color, shift))


@lru_cache(maxsize=64)
def tones(color: tuple[int, int, int], shift: float) -> np.ndarray:
    """The colour that takes the place of each grey.

    Hue is the colour's. Lightness is the grey's, moved by at most LARGEST_SHIFT; black and white stay.
    Chroma falls with lightness as the shades of one paint do, and is as small as sRGB makes it necessary.

    Args:
        color: RGB, 0-255.
        shift: how far the lightness of middle grey moves towards the colour's own, 0-1.

    Returns:
        (256, 1, 3) RGB uint8, by the luma of the pixel.
    """
    own = _to_lab(np.array([color]) / 255.0)[0]
    grey = _to_lab(np.repeat(np.arange(256.0)[:, None], 3, axis=1) / 255.0)[:, 0]
    step = np.clip(shift * (own[0] - MIDDLE_LIGHTNESS), -LARGEST_SHIFT, LARGEST_SHIFT)
    lightness = grey + step * 4 * (grey / 100) * (1 - grey / 100)
    # L* + 16 is proportional to the cube root of the luminance, and so are a* and b* of a paint in shade.
    gain = np.minimum((lightness + 16) / (own[0] + 16), LARGEST_GAIN)
    chroma = np.stack([own[1] * gain, own[2] * gain], axis=1)
    low, high = np.zeros(256), np.ones(256)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        linear = _from_lab(lightness, chroma * middle[:, None])
        fits = ((linear >= -1e-6) & (linear <= 1 + 1e-6)).all(axis=1)
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    linear = np.clip(_from_lab(lightness, chroma * low[:, None]), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table = np.rint(255 * encoded).astype(np.uint8)[:, None]
    table.setflags(write=False)
    return table


def _to_lab(encoded: np.ndarray) -> np.ndarray:
    """(..., 3) sRGB of 0-1 to CIE L*a*b* (CIE 15)."""
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ TO_XYZ.T / WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _from_lab(lightness: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Linear RGB (n, 3), beyond 0-1 where sRGB has no such colour."""
    y = (lightness + 16) / 116
    root = np.stack([y + chroma[:, 0] / 500, y, y - chroma[:, 1] / 200], axis=1)
    ratio = np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))
    return (ratio * WHITE) @ np.linalg.inv(TO_XYZ).T
