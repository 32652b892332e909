"""The mask of the frame before lies where the picture has moved to."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.face.motion import MovingMask, carry, crop_between, flow_between, shrunk_grey, shrunk_planes
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


def carried_along(planes: np.ndarray, flow: np.ndarray, region: np.ndarray) -> np.ndarray:
    mask = np.ascontiguousarray(planes.transpose(1, 2, 0))
    return carry(mask, flow, region).transpose(2, 0, 1)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -2.0), (-4.5, 1.25)])
def test_the_mask_moves_with_the_picture(shift: tuple[float, float]) -> None:
    before, matrix = cut_at(scene(), Square(150, 150, SIZE))
    now, _ = cut_at(scene(), Square(150 - shift[0], 150 - shift[1], SIZE))
    mask = MovingMask()
    mask.put(before, matrix, shrunk_planes(disk(48, 48)))
    moved = mask.carried(now, matrix)
    assert moved is not None
    assert moved.shape == (CLASSES, SIZE, SIZE)
    assert moved.dtype == np.float32
    # At the border there may be things that were not seen before; they have no class.
    total = moved.sum(0)
    assert (abs(total[12:-12, 12:-12] - 1) < 1e-5).mean() > 0.99
    assert total.min() >= 0
    assert total.max() <= 1 + 1e-5
    x, y = centre(moved[1])
    assert (x, y) == pytest.approx((48 + shift[0], 48 + shift[1]), abs=0.3)


@pytest.mark.parametrize("scale", [1.0, 1.2])
def test_a_moved_region_of_a_still_picture_shows_the_mask_elsewhere(scale: float) -> None:
    old, new = Square(150, 150, SIZE), Square(158, 145, SIZE * scale)
    before, first = cut_at(scene(), old)
    now, second = cut_at(scene(), new)
    mask = MovingMask()
    mask.put(before, first, shrunk_planes(disk(48, 48)))
    moved = mask.carried(now, second)
    assert moved is not None
    # (48, 48) in the crop before is this place of the picture, and there it stays.
    place = second @ [150 + 48, 150 + 48, 1]
    assert centre(moved[1]) == pytest.approx(tuple(place), abs=0.6)
    assert moved[1].sum() == pytest.approx(disk(48, 48)[1].sum() / scale**2, rel=0.05)
    # What the region before did not show is of no class.
    assert moved[:, :, -1].max() == 0


@settings(max_examples=40, deadline=None)
@given(
    side=st.floats(20, 200), shift=st.floats(-0.3, 0.3), zoom=st.floats(0.7, 1.4), start=st.floats(-50, 300)
)
def test_without_motion_planes_move_with_their_region(
    side: float, shift: float, zoom: float, start: float
) -> None:
    """Planes that are linear in the picture's coordinates stay what they are, wherever both crops look."""
    size = 24
    old, new = Square(start, 2 * start, side), Square(start + shift * side, 2 * start, side * zoom)

    def seen(region: Square) -> np.ndarray:
        x, y = (at + (np.arange(size) + 0.5) * region.side / size - 0.5 for at in (region.x, region.y))
        return np.stack(np.broadcast_arrays(x[None], y[:, None])).astype(np.float32)

    still = np.zeros((size, size, 2), np.float32)
    moved = carried_along(seen(old), still, crop_between(crop_matrix(old, size), crop_matrix(new, size)))
    truth, step = seen(new), side / size
    low = np.array([old.x, old.y])[:, None, None] + step
    high = low + side - 3 * step
    both = ((truth > low) & (truth < high)).all(axis=0)
    # OpenCV interpolates between 32 steps of a pixel.
    np.testing.assert_allclose(moved[:, both], truth[:, both], atol=step / 16 + 1e-3)
    outside = ((truth < low - 3 * step) | (truth > high + 3 * step)).any(axis=0)
    assert not moved[:, outside].any()


def test_nothing_is_carried_into_the_first_crop() -> None:
    cut, matrix = cut_at(scene(), Square(150, 150, SIZE))
    mask = MovingMask()
    assert mask.carried(cut, matrix) is None
    mask.put(cut, matrix, shrunk_planes(disk(40, 40)))
    assert mask.carried(cut, matrix) is not None
    mask.forget()
    assert mask.carried(cut, matrix) is None


def test_another_picture_gets_no_mask() -> None:
    before, matrix = cut_at(scene(), Square(10, 10, SIZE))
    now, _ = cut_at(scene(), Square(250, 250, SIZE))
    mask = MovingMask()
    mask.put(before, matrix, shrunk_planes(disk(48, 48)))
    assert mask.carried(now, matrix) is None


def test_what_is_hidden_has_no_class() -> None:
    before, matrix = cut_at(scene(), Square(150, 150, SIZE))
    now = before.copy()
    now[30:60, 30:60] = np.random.default_rng(1).integers(0, 256, (30, 30, 3))
    mask = MovingMask()
    mask.put(before, matrix, shrunk_planes(disk(48, 48)))
    moved = mask.carried(now, matrix)
    assert moved is not None
    assert moved[:, 34:56, 34:56].sum(0).mean() < 0.2
    assert moved[:, :20].sum(0).min() == pytest.approx(1, abs=1e-5)


def test_a_flow_along_one_axis_moves_along_that_axis() -> None:
    flow = np.zeros((SIZE, SIZE, 2), np.float32)
    flow[..., 0] = 6.0
    moved = carried_along(disk(48, 48), flow, np.eye(2, 3))
    assert centre(moved[1]) == pytest.approx((42, 48), abs=0.05)


def test_flow_of_a_flat_picture_is_finite() -> None:
    flat = shrunk_grey(np.full((SIZE, SIZE, 3), 90, np.uint8))
    assert np.isfinite(flow_between(flat, flat)).all()
