"""Golden cases of the previous mask: shrunk, carried to the next crop with or without a flow, or forgotten.

Sizes are smaller than the engine's, in the same ratio: (size) of the crop, half of it for the mask, a quarter
for greys and flow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.face import golden_formulas as exact
from toolchain.face import motion
from toolchain.face.golden_cases import case, shares
from toolchain.face.golden_region import smooth_picture
from toolchain.face.region import Square, crop_matrix

SIZE, SIDE, FLOW_SIDE = 24, 12, 6
GREY_TOLERANCE = 1
HERE = Square(10.0, 8.0, 40.0)
Matrix = list[list[float]]


def previous_mask_cases() -> list[dict[str, Any]]:
    """All cases of previous_mask.json."""
    return [*_shrink_cases(), *_carry_cases(), *_met_cases(), *_carried_cases()]


def smooth_mask(classes: int, side: int) -> np.ndarray:
    """(classes, side, side) uint8 in 1 / 256 that add up to 256: a hill for each class but the first."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    hills = [
        np.exp(-((x - 0.3 - 0.4 * k / classes) ** 2 + (y - 0.6 + 0.3 * k / classes) ** 2) / 0.06)
        for k in range(1, classes)
    ]
    planes = np.floor(np.stack(hills) * 240 / np.maximum(1, np.sum(hills, axis=0))).astype(np.uint8)
    ground = np.minimum(256 - planes.sum(axis=0, dtype=int), 255)
    return np.concatenate([ground[None].astype(np.uint8), planes])


def _shrink_cases() -> list[dict[str, Any]]:
    return [
        case("shrink", _shrink, "shrink to half", planes=shares(smooth_mask(3, 8)), side=4),
        case("shrink", _shrink, "shrink by 3 to 2", planes=shares(smooth_mask(2, 12)), side=8),
        case("shrink", _shrink, "shrink to the same size", planes=shares(smooth_mask(2, 6)), side=6),
        case("grey", _grey, "grey to a quarter", picture=smooth_picture(16, 16), side=4),
        case("grey", _grey, "grey of pure colours", picture=_pure_colors(), side=4),
    ]


def _pure_colors() -> np.ndarray:
    colors = np.array(
        [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [1, 2, 3]], np.uint8
    )
    return colors[np.add.outer(np.arange(4), np.arange(4)) % len(colors)]


def _shrink(planes: np.ndarray, side: int) -> dict[str, np.ndarray]:
    return {"planes": np.stack([exact.averaged(plane, side, side) for plane in planes]).astype(np.float32)}


def _grey(picture: np.ndarray, side: int) -> dict[str, Any]:
    found = exact.averaged(exact.luma(picture), side, side)
    return {"grey": np.floor(found + 0.5).astype(np.uint8), "tolerance": GREY_TOLERANCE}


def _flow(x: float, y: float, side: int = FLOW_SIDE) -> np.ndarray:
    return np.broadcast_to(np.array([x, y], np.float32), (side, side, 2)).copy()


def _carry_cases() -> list[dict[str, Any]]:
    still, mask = np.eye(2, 3).tolist(), shares(smooth_mask(2, SIDE))
    hole = np.ones((FLOW_SIDE, FLOW_SIDE), np.uint8)
    hole[2:4, 3:5] = 0
    turning = _flow(0.0, 0.0)
    turning[:, :, 0] += np.linspace(-1, 1, FLOW_SIDE, dtype=np.float32)[:, None] * 0.75
    regions = {
        "still": (still, None, None),
        "still with a hole": (still, None, hole),
        "along a flow": (still, _flow(0.5, -0.25), None),
        "a flow that leads out means the border": (still, _flow(-3.0, 2.0), None),
        "along a flow that differs from row to row": (still, turning, None),
        "to a region moved by pixels": ([[1.0, 0.0, 3.0], [0.0, 1.0, -2.0]], None, None),
        "to a region of another size": ([[1.25, 0.0, -1.375], [0.0, 1.25, 0.625]], None, None),
        "to a region of another size along a flow": (
            [[0.8, 0.0, 1.1], [0.0, 0.8, 2.3]],
            _flow(0.5, 0.25),
            hole,
        ),
        "to a region that shows nothing of the one before": ([[1.0, 0.0, 40.0], [0.0, 1.0, 0.0]], None, None),
    }
    return [
        case("carry", carry, f"carry {name}", mask=mask, flow=flow, region=region, met=met)
        for name, (region, flow, met) in regions.items()
    ]


def carry(
    mask: np.ndarray, flow: np.ndarray | None, region: Matrix, met: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Probabilities (classes, side, side) where region and flow lead; zero beyond and where not met."""
    side = mask.shape[1]
    x, y = exact.places(np.eye(2, 3), side, side)
    if flow is not None:
        step = exact.resized(flow.astype(np.float64) * (side / len(flow)), side, side)
        x, y = x + step[..., 0], y + step[..., 1]
    to_before = np.array(region)
    if np.abs(to_before - np.eye(2, 3)).max() < 1e-6:
        x, y = np.clip(x, 0, side - 1), np.clip(y, 0, side - 1)
    else:
        x, y = (row[0] * x + row[1] * y + row[2] for row in to_before)
    found = np.stack([exact.interpolated(plane, x, y) for plane in mask])
    if met is not None:
        found *= exact.nearest(met, side, side) != 0
    return {"mask": found.astype(np.float32)}


def _greys() -> tuple[np.ndarray, np.ndarray]:
    """Before and now: the same smooth grey but for a part that has become lighter."""
    y, x = np.mgrid[0:FLOW_SIDE, 0:FLOW_SIDE]
    before = (60 + 6 * x + 4 * y).astype(np.uint8)
    now = before.copy()
    now[3:6, 1:3] += 135
    return before, now


def _met_cases() -> list[dict[str, Any]]:
    before, now = _greys()
    one_sided = _flow(0.0, 0.0)
    one_sided[:, 4:] = 2.0
    ways = {
        "nothing has moved": (before, before, None, None),
        "a part looks otherwise": (before, now, None, None),
        "moved there and back": (before, before, _flow(1.0, 0.5), _flow(-1.0, -0.5)),
        "flows that do not cancel": (before, before, _flow(1.0, 0.0), _flow(1.0, 0.0)),
        "flows that cancel but for a quarter of a pixel": (
            before,
            before,
            _flow(1.0, 0.0),
            _flow(-0.75, 0.0),
        ),
        "flows that cancel but for half a pixel": (before, before, _flow(1.0, 0.0), _flow(-0.5, 0.0)),
        "flows that cancel but for three quarters": (before, before, _flow(1.0, 0.0), _flow(-0.25, 0.0)),
        "long flows that cancel but for three quarters": (
            before,
            before,
            _flow(3.0, 0.0),
            _flow(-2.25, 0.0),
        ),
        "flows that cancel but for a pixel": (before, before, _flow(1.0, 0.5), _flow(0.0, -0.5)),
        "flows that cancel in a part": (before, before, one_sided, _flow(0.0, 0.0)),
        "a cut": (before, before + np.uint8(120), None, None),
    }
    return [
        case("met_again", _met_case, f"met_again {name}", before=b, now=n, flow=flow, back=back)
        for name, (b, n, flow, back) in ways.items()
    ]


def _met_case(**given: Any) -> dict[str, np.ndarray]:
    return {"met": met_again(**given)}


def met_again(
    before: np.ndarray, now: np.ndarray, flow: np.ndarray | None, back: np.ndarray | None
) -> np.ndarray:
    """(height, width) uint8: 1 where flow and flow back cancel, and both greys are alike; no flow is zero."""
    height, width = now.shape
    zero = np.zeros((height, width, 2))
    there = zero if flow is None else flow.astype(np.float64)
    x, y = exact.places(np.eye(2, 3), height, width)
    x, y = x + there[..., 0], y + there[..., 1]
    again = exact.interpolated(zero if back is None else back, x, y, replicate=True)
    bound = motion.RELATIVE * ((there**2).sum(-1) + (again**2).sum(-1)) + motion.ABSOLUTE
    off = ((there + again) ** 2).sum(-1)
    seen = np.rint(exact.interpolated(before, x, y, replicate=True))
    unlike = np.abs(_mean_of_nine(seen) - _mean_of_nine(now))
    # Other ways to round must not change an answer.
    assert (np.abs(off - bound) > 1e-3).all()
    assert (np.abs(unlike - motion.GREY) > 1).all()
    return ((off < bound) & (unlike < motion.GREY)).astype(np.uint8)


def _mean_of_nine(grey: np.ndarray) -> np.ndarray:
    return np.rint(exact.filtered(grey, np.ones(3) / 3))


def _seen_by(square: Square, change: int = 0) -> np.ndarray:
    """(FLOW_SIDE, FLOW_SIDE) uint8: what a crop shows of a smooth scene."""
    x, y = exact.places(exact.inverse(crop_matrix(square, FLOW_SIDE)), FLOW_SIDE, FLOW_SIDE)
    return np.clip(np.rint(90 + 0.8 * x + 0.5 * y + change), 0, 255).astype(np.uint8)


def _carried_cases() -> list[dict[str, Any]]:
    patched = _seen_by(HERE)
    patched[0:2, 4:6] += 80
    flow, back = _flow(0.5, 0.25), _flow(-0.5, -0.25)
    moved, larger, far = Square(16.0, 3.0, 40.0), Square(2.0, 0.0, 56.0), Square(300.0, 8.0, 40.0)
    level = np.full((FLOW_SIDE, FLOW_SIDE), 120, np.uint8)
    ways: dict[str, tuple[Square, np.ndarray, np.ndarray, Any, Any]] = {
        "in the same region": (HERE, _seen_by(HERE), _seen_by(HERE), None, None),
        "but for what looks otherwise": (HERE, _seen_by(HERE), patched, None, None),
        "to a region that has moved": (moved, _seen_by(HERE), _seen_by(moved), None, None),
        "to a larger region": (larger, _seen_by(HERE), _seen_by(larger), None, None),
        "along a flow": (HERE, _seen_by(HERE), _seen_by(HERE), flow, back),
        "to a region that shows nothing of the one before": (far, level, level, None, None),
        "not after a cut": (HERE, _seen_by(HERE), _seen_by(HERE, change=90), None, None),
        "not along flows that do not cancel": (
            HERE,
            _seen_by(HERE),
            _seen_by(HERE),
            _flow(1, 1),
            _flow(1, 1),
        ),
    }
    mask = shares(smooth_mask(2, SIDE))
    return [
        case(
            "carried", carried, f"carried {name}",
            mask=mask, before_grey=before, now_grey=now, before_matrix=crop_matrix(HERE, SIZE).tolist(),
            now_matrix=crop_matrix(square, SIZE).tolist(), size=SIZE, flow=there, back=again,
        )
        for name, (square, before, now, there, again) in ways.items()
    ]  # fmt: skip


def carried(
    mask: np.ndarray, before_grey: np.ndarray, now_grey: np.ndarray, before_matrix: Matrix,
    now_matrix: Matrix, size: int, flow: np.ndarray | None, back: np.ndarray | None,
) -> dict[str, Any]:  # fmt: skip
    """The mask of the crop before at the size of the next crop; None where most is not met again."""
    between = exact.joined(np.array(before_matrix), exact.inverse(np.array(now_matrix)))
    grey_side, side = len(before_grey), mask.shape[1]
    before = before_grey
    if np.abs(between - np.eye(2, 3)).max() >= 1e-6:
        x, y = exact.places(motion.shrunk_region(between, size, grey_side), grey_side, grey_side)
        before = np.rint(exact.interpolated(before_grey, x, y, replicate=True)).astype(np.uint8)
    met = met_again(before, now_grey, flow, back)
    if met.mean() < motion.LEAST_MET:
        return {"mask": None}
    padded = np.pad(met, 1, constant_values=1)
    met = np.min(
        [padded[dy : dy + grey_side, dx : dx + grey_side] for dy in range(3) for dx in range(3)], axis=0
    )
    small = carry(mask, flow, motion.shrunk_region(between, size, side).tolist(), met)["mask"]
    planes = [exact.resized(plane, size, size) for plane in small]
    return {"mask": np.stack(planes).astype(np.float32), "met": met}
