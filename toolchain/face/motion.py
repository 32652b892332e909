"""The previous mask carried along with the picture: what has moved since is met where it is now.

A mask that stays where it was pulls every outline of a moving face back by a frame, which flickers more
than no mask at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np

# The mask is but a prior: half the pixels of the crop hold it. Faces move as a whole and smoothly, which half
# of those show, and steadier.
SIDE, FLOW_SIDE = 128, 64
# The finest level of the image pyramid that the flows there and back look at. The mask follows the one; the
# other only confirms it, for which half the pixels do, in a sixth of the time.
THERE, BACK = 0, 1
# A pixel is met again when the flows there and back cancel: |w + w'|^2 < 0.01 (|w|^2 + |w'|^2) + 0.5 pixels
# (Sundaram, Brox, Keutzer, ECCV 2010), and when it looks the same but for this many of 256 grey levels.
RELATIVE, ABSOLUTE = 0.01, 0.5
GREY = 24
# After a cut, chance alone lets flows cancel in some places.
LEAST_MET = 0.5
# Where remap reads zeros.
OUTSIDE = -9.0
# From a crop to itself.
STILL = np.eye(2, 3)


class MovingMask:
    """Class probabilities of the frame before, and the crop that they belong to. One per face and video.

    Args:
        reuse: write every answer into the same array, which then holds until the next call only.
    """

    def __init__(self, reuse: bool = False) -> None:
        self._reuse = reuse
        self._known = False
        # The classes of a pixel lie side by side, so that all of them are read at once.
        self._mask = np.empty(0)
        self._moved: np.ndarray | None = None
        self._grey = np.empty(0)
        self._matrix = np.empty(0)

    @property
    def is_known(self) -> bool:
        """Whether there is a mask to carry."""
        return self._known

    def forget(self) -> None:
        """The next crop is the first of its kind."""
        self._known = False

    def put(
        self,
        cut: np.ndarray,
        matrix: np.ndarray,
        probabilities: np.ndarray,
        grey: np.ndarray | None = None,
    ) -> None:
        """Keep what a network said of a crop; no argument but `grey` is needed afterwards.

        Args:
            cut: (size, size, 3) RGB uint8.
            matrix: (2, 3), picture to crop.
            probabilities: (classes, SIDE, SIDE) float32, as from `shrunk_planes`.
            grey: `shrunk_grey(cut)` where it is known; it is kept.
        """
        self._mask = np.asarray(cv2.merge(list(probabilities)))
        self._grey = shrunk_grey(cut) if grey is None else grey
        self._matrix, self._known = matrix.copy(), True

    def carried(
        self, cut: np.ndarray, matrix: np.ndarray, grey: np.ndarray | None = None
    ) -> np.ndarray | None:
        """What was said of the crop before, where its parts lie in the next one.

        Args:
            cut: (size, size, 3) RGB uint8, of the next frame.
            matrix: (2, 3), picture to crop.
            grey: `shrunk_grey(cut)` where it is known.

        Returns:
            (classes, size, size) float32, the view of an array of NHWC order; zero for all classes where
            the crop before showed nothing of the picture, or something else; None after `forget`, and when
            most of the picture is another, as after a cut.
        """
        if not self._known:
            return None
        size = cut.shape[0]
        between = crop_between(self._matrix, matrix)
        before = _regrouped(self._grey, shrunk_region(between, size, FLOW_SIDE))
        now = shrunk_grey(cut) if grey is None else grey
        flow = flow_between(before, now)
        met = met_again(before, now, flow)
        if met.mean() < LEAST_MET:
            return None
        # What is doubtful is no prior for its neighbours either.
        met = cv2.erode(met, np.ones((3, 3), np.uint8))
        small = carry(self._mask, flow, shrunk_region(between, size, SIDE), met)
        moved = np.asarray(cv2.resize(small, (size, size), dst=self._fitting(size, small.shape[2])))
        if self._reuse:
            self._moved = moved
        return moved.transpose(2, 0, 1)

    def _fitting(self, size: int, classes: int) -> np.ndarray | None:
        """The array of the answer before, where it can be written over."""
        return self._moved if self._moved is not None and self._moved.shape == (size, size, classes) else None


def shrunk_planes(probabilities: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """(classes, SIDE, SIDE) float32 of (classes, size, size); in `out`, or a new array without one."""
    if out is None:
        out = np.empty((len(probabilities), SIDE, SIDE), np.float32)
    for plane, small in zip(probabilities, out, strict=True):
        cv2.resize(plane, (SIDE, SIDE), dst=small, interpolation=cv2.INTER_AREA)
    return out


def shrunk_matrix(matrix: np.ndarray, size: int) -> np.ndarray:
    """(2, 3) from a picture to a crop of `size` pixels, as one to the crop shrunk to SIDE."""
    scale = SIDE / size
    small = scale * matrix
    # Pixel centres are at whole numbers in both sizes.
    small[:, 2] += 0.5 * scale - 0.5
    return small


def shrunk_grey(cut: np.ndarray) -> np.ndarray:
    """(FLOW_SIDE, FLOW_SIDE) uint8 of a crop (size, size, 3) RGB uint8."""
    grey = cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (FLOW_SIDE, FLOW_SIDE), interpolation=cv2.INTER_AREA)


def flow_between(before: np.ndarray, now: np.ndarray, finest: int = THERE) -> np.ndarray:
    """Where each pixel lay in the frame before, by dense inverse search (Kroeger et al., ECCV 2016).

    Args:
        before: (height, width) uint8.
        now: the same of the next frame.
        finest: level of the image pyramid that is looked at last; each has half the side of the one before.

    Returns:
        (height, width, 2) float32, pixels to add to x and y.
    """
    return np.asarray(_dis(finest).calc(now, before, None))


def met_again(before: np.ndarray, now: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Where the flow leads to the same thing in the frame before.

    Args:
        before: (height, width) uint8.
        now: the same of the next frame.
        flow: (height, width, 2) of `flow_between`.

    Returns:
        (height, width) uint8, 1 or 0.
    """
    there = cv2.split(flow)
    x, y = _places(there)
    returned = flow_between(now, before, BACK)
    back = cv2.split(cv2.remap(returned, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    bound = RELATIVE * (_squares(*there) + _squares(*back)) + ABSOLUTE
    seen = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    unlike = cv2.absdiff(cv2.blur(seen, (3, 3)), cv2.blur(now, (3, 3)))
    off = _squares(there[0] + back[0], there[1] + back[1])
    return ((off < bound) & (unlike < GREY)).view(np.uint8)


def _places(flow: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels that a flow, in planes of x and y, leads to."""
    x, y = flow
    height, width = x.shape
    return x + _numbers(width)[None], y + _numbers(height)[:, None]


@cache
def _numbers(count: int) -> np.ndarray:
    numbers = np.arange(count, dtype=np.float32)
    numbers.setflags(write=False)
    return numbers


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared lengths. (In planes: numpy is several times slower where x and y lie side by side.)"""
    return x * x + y * y


def crop_between(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(2, 3) from a crop to the crop before, of their (2, 3) from the picture."""
    return before @ np.vstack([cv2.invertAffineTransform(now), [0.0, 0.0, 1.0]])


def shrunk_region(region: np.ndarray, size: int, side: int) -> np.ndarray:
    """(2, 3) between crops of `size` pixels, as one between them when they are shrunk to `side`."""
    scale = side / size
    small = region.copy()
    # Pixel centres are at whole numbers in both sizes.
    middle = 0.5 / scale - 0.5
    small[:, 2] = scale * (region[:, :2] @ [middle, middle] + region[:, 2] + 0.5) - 0.5
    return small


def carry(
    mask: np.ndarray, flow: np.ndarray, region: np.ndarray, met: np.ndarray | None = None
) -> np.ndarray:
    """Class probabilities moved along a flow.

    Args:
        mask: (side, side, classes) float32, of the crop before.
        flow: (height, width, 2) float32, as from `flow_between`, between crops that both show the new region.
        region: (2, 3), new crop to the crop before, both of that side.
        met: (height, width) uint8, 0 where nothing is to be carried to; None for everywhere.

    Returns:
        (side, side, classes) float32; zero where `met` is, and where the region before showed nothing.
    """
    side = mask.shape[0]
    x, y = _places(cv2.split(cv2.resize(flow * np.float32(side / flow.shape[0]), (side, side))))
    if _is_still(region):
        # A flow that leads out of the crop means its border.
        np.clip(x, 0, side - 1, out=x)
        np.clip(y, 0, side - 1, out=y)
    else:
        matrix = region.astype(np.float32)
        x, y = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in (0, 1))
    if met is not None:
        kept = cv2.resize(met, (side, side), interpolation=cv2.INTER_NEAREST)
        np.copyto(x, OUTSIDE, where=kept == 0)
    return np.asarray(cv2.remap(mask, x, y, cv2.INTER_LINEAR))


def _is_still(region: np.ndarray) -> bool:
    """Whether two crops are the same, to a millionth of a pixel. (np.allclose takes 20 times as long.)"""
    return float(np.abs(region - STILL).max()) < 1e-6


def _regrouped(grey: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The shrunk crop before, of the region of the next crop."""
    if _is_still(region):
        return grey
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grey, region, grey.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


@cache
def _dis(finest: int) -> Any:
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    method.setFinestScale(finest)
    return method
