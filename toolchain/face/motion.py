"""The previous mask carried along with the picture: what has moved since is met where it is now.

A mask that stays where it was pulls every outline of a moving face back by a frame, which flickers more
than no mask at all.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np

# Faces move as a whole and smoothly; half the pixels of the crop show that as well as all of them.
SIDE = 128
# A pixel is met again when the flows there and back cancel: |w + w'|^2 < 0.01 (|w|^2 + |w'|^2) + 0.5 pixels
# (Sundaram, Brox, Keutzer, ECCV 2010), and when it looks the same but for this many of 256 grey levels.
RELATIVE, ABSOLUTE = 0.01, 0.5
GREY = 24
# After a cut, chance alone lets flows cancel in some places.
LEAST_MET = 0.5
# Where remap reads zeros.
OUTSIDE = -9.0


class MovingMask:
    """Class probabilities of the frame before, and the crop that they belong to. One per face and video."""

    def __init__(self) -> None:
        self._probabilities: np.ndarray | None = None
        self._grey: np.ndarray | None = None
        self._matrix: np.ndarray | None = None

    def forget(self) -> None:
        """The next crop is the first of its kind."""
        self._probabilities = None

    def put(self, cut: np.ndarray, matrix: np.ndarray, probabilities: np.ndarray) -> None:
        """Keep what a network said of a crop.

        Args:
            cut: (size, size, 3) RGB uint8; not needed afterwards.
            matrix: (2, 3), picture to crop.
            probabilities: (classes, size, size) float32; must not change before the next `put`.
        """
        self._probabilities, self._matrix = probabilities, matrix
        self._grey = shrunk_grey(cut)

    def carried(self, cut: np.ndarray, matrix: np.ndarray) -> np.ndarray | None:
        """What was said of the crop before, where its parts lie in the next one.

        Args:
            cut: (size, size, 3) RGB uint8, of the next frame.
            matrix: (2, 3), picture to crop.

        Returns:
            (classes, size, size) float32; zero for all classes where the crop before showed nothing of the
            picture, or something else; None after `forget`, and when most of the picture is another, as
            after a cut.
        """
        if self._probabilities is None or self._grey is None or self._matrix is None:
            return None
        size = cut.shape[0]
        region = crop_between(self._matrix, matrix)
        before, now = _regrouped(self._grey, region, size), shrunk_grey(cut)
        flow = flow_between(before, now)
        met = met_again(before, now, flow)
        if met.mean() < LEAST_MET:
            return None
        # What is doubtful is no prior for its neighbours either.
        return carry(self._probabilities, flow, region, cv2.erode(met, np.ones((3, 3), np.uint8)))


def shrunk_grey(cut: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8 of a crop (size, size, 3) RGB uint8."""
    grey = cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def flow_between(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Where each pixel lay in the frame before, by dense inverse search (Kroeger et al., ECCV 2016).

    Args:
        before: (height, width) uint8.
        now: the same of the next frame.

    Returns:
        (height, width, 2) float32, pixels to add to x and y.
    """
    return np.asarray(_dis().calc(now, before, None))


def met_again(before: np.ndarray, now: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Where the flow leads to the same thing in the frame before.

    Args:
        before: (height, width) uint8.
        now: the same of the next frame.
        flow: (height, width, 2) of `flow_between`.

    Returns:
        (height, width) uint8, 1 or 0.
    """
    height, width = now.shape
    x = np.arange(width, dtype=np.float32)[None] + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    back = cv2.remap(flow_between(now, before), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    bound = RELATIVE * (_squares(flow) + _squares(back)) + ABSOLUTE
    seen = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alike = cv2.absdiff(cv2.blur(seen, (3, 3)), cv2.blur(now, (3, 3))) < GREY
    return ((_squares(flow + back) < bound) & alike).astype(np.uint8)


def _squares(vectors: np.ndarray) -> np.ndarray:
    """Squared lengths. (numpy sums over a last axis of two ten times slower.)"""
    return vectors[..., 0] ** 2 + vectors[..., 1] ** 2


def crop_between(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(2, 3) from a crop to the crop before, of their (2, 3) from the picture."""
    return before @ np.vstack([cv2.invertAffineTransform(now), [0.0, 0.0, 1.0]])


def carry(
    probabilities: np.ndarray, flow: np.ndarray, region: np.ndarray, met: np.ndarray | None = None
) -> np.ndarray:
    """Class probabilities moved along a flow.

    Args:
        probabilities: (classes, size, size) float32, of the crop before.
        flow: (side, side, 2) float32, as from `flow_between`, between crops that both show the new region.
        region: (2, 3), new crop to the crop before.
        met: (side, side) uint8, 0 where nothing is to be carried to; None for everywhere.

    Returns:
        (classes, size, size) float32; zero where `met` is, and where the region before showed nothing.
    """
    size = probabilities.shape[1]
    x, y = cv2.split(cv2.resize(flow * (size / flow.shape[0]), (size, size)))
    row = np.arange(size, dtype=np.float32)
    x += row[None]
    y += row[:, None]
    if np.allclose(region, np.eye(2, 3), atol=1e-6):
        # A flow that leads out of the crop means its border.
        np.clip(x, 0, size - 1, out=x)
        np.clip(y, 0, size - 1, out=y)
    else:
        matrix = region.astype(np.float32)
        x, y = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in (0, 1))
    if met is not None:
        x[cv2.resize(met, (size, size), interpolation=cv2.INTER_NEAREST) == 0] = OUTSIDE
    # All classes of a pixel are read at once, in half the time of one plane after the other.
    moved = cv2.remap(cv2.merge(list(probabilities)), x, y, cv2.INTER_LINEAR)
    result = np.empty(probabilities.shape, np.float32)
    cv2.split(moved, list(result))
    return result


def _regrouped(grey: np.ndarray, region: np.ndarray, size: int) -> np.ndarray:
    """The shrunk crop before, of the region of the next crop."""
    if np.allclose(region, np.eye(2, 3), atol=1e-6):
        return grey
    scale = SIDE / size
    small = region.copy()
    # Pixel centres are at whole numbers in both sizes.
    middle = 0.5 / scale - 0.5
    small[:, 2] = scale * (region[:, :2] @ [middle, middle] + region[:, 2] + 0.5) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grey, small, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)


@cache
def _dis() -> Any:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
