"""The mask of the frame before lies where the picture has moved to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from toolchain.face.motion import MovingMask, carry, flow_between, shrunk_grey
from toolchain.face.region import Square, crop_matrix

SIZE, CLASSES = 96, 3


def scene(side: int = 400) -> np.ndarray:
    """Smooth texture in which every place looks different."""
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


def cut_at(picture: np.ndarray, square: Square) -> tuple[np.ndarray, np.ndarray]:
    matrix = crop_matrix(square, SIZE)
    return cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR), matrix


def disk(x: float, y: float) -> np.ndarray:
    """Probabilities of a soft disk around (x, y) in the crop; the rest is background."""
    down, across = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    inside = 1 / (1 + np.exp((np.hypot(across - x, down - y) - 20) / 2))
    return np.stack([1 - inside, inside, np.zeros_like(inside)]).astype(np.float32)


def centre(plane: np.ndarray) -> tuple[float, float]:
    moments = cv2.moments(plane)
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -2.0), (-4.5, 1.25)])
def test_the_mask_moves_with_the_picture(shift: tuple[float, float]) -> None:
    before, matrix = cut_at(scene(), Square(150, 150, SIZE))
    now, _ = cut_at(scene(), Square(150 - shift[0], 150 - shift[1], SIZE))
    mask = MovingMask()
    mask.put(before, matrix, disk(48, 48))
    moved = mask.carried(now, matrix)
    assert moved is not None
    assert moved.shape == (CLASSES, SIZE, SIZE)
    assert moved.dtype == np.float32
    # Where the flow has nothing to go by, at the border, nothing may be invented either.
    np.testing.assert_allclose(moved.sum(0), 1, atol=1e-5)
    x, y = centre(moved[1])
    assert (x, y) == pytest.approx((48 + shift[0], 48 + shift[1]), abs=0.3)


@pytest.mark.parametrize("scale", [1.0, 1.2])
def test_a_moved_region_of_a_still_picture_shows_the_mask_elsewhere(scale: float) -> None:
    old, new = Square(150, 150, SIZE), Square(158, 145, SIZE * scale)
    before, first = cut_at(scene(), old)
    now, second = cut_at(scene(), new)
    mask = MovingMask()
    mask.put(before, first, disk(48, 48))
    moved = mask.carried(now, second)
    assert moved is not None
    # (48, 48) in the crop before is this place of the picture, and there it stays.
    place = second @ [150 + 48, 150 + 48, 1]
    assert centre(moved[1]) == pytest.approx(tuple(place), abs=0.6)
    assert moved[1].sum() == pytest.approx(disk(48, 48)[1].sum() / scale**2, rel=0.05)
    # What the region before did not show is of no class.
    assert moved[:, :, -1].max() == 0


def test_nothing_is_carried_into_the_first_crop() -> None:
    cut, matrix = cut_at(scene(), Square(150, 150, SIZE))
    mask = MovingMask()
    assert mask.carried(cut, matrix) is None
    mask.put(cut, matrix, disk(40, 40))
    assert mask.carried(cut, matrix) is not None
    mask.forget()
    assert mask.carried(cut, matrix) is None


def test_a_flow_along_one_axis_moves_along_that_axis() -> None:
    flow = np.zeros((32, 32, 2), np.float32)
    flow[..., 0] = 2.0
    moved = carry(disk(48, 48), flow, np.eye(2, 3))
    # A flow of 2 pixels at a third of the size is one of 6.
    assert centre(moved[1]) == pytest.approx((42, 48), abs=0.05)


def test_flow_of_a_flat_picture_is_finite() -> None:
    flat = shrunk_grey(np.full((SIZE, SIZE, 3), 90, np.uint8))
    assert np.isfinite(flow_between(flat, flat)).all()
