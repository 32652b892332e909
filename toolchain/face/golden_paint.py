"""Golden cases of what is drawn: flat colours of the classes, and lipstick that keeps the shading of lips.

Pictures have 8 bits; a result may differ by 1, since steps in between are rounded in different places.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from toolchain.face import coverage as rules
from toolchain.face import golden_formulas as exact
from toolchain.face.colorize import ALPHA, FULL
from toolchain.face.effects import (
    INNER_MOUTH,
    LIP_EDGE,
    LIP_FEATHER,
    LIP_SHIFT,
    LIPSTICK_COLOR,
    LOWER_LIP,
    UPPER_LIP,
)
from toolchain.face.golden_cases import case, refusal, shares
from toolchain.face.golden_region import smooth_picture
from toolchain.face.region import Square, crop_matrix
from toolchain.face.tones import tones

PALETTE = [[0, 0, 0], [120, 120, 255], [60, 180, 75], [255, 255, 255]]
LIPS = ("background", "skin", UPPER_LIP, INNER_MOUTH, LOWER_LIP)
TOLERANCE = 1
Color = tuple[int, int, int]


def overlay_cases() -> list[dict[str, Any]]:
    """All cases of overlay.json."""
    picture = smooth_picture(12, 16)
    labels = np.zeros((12, 16), np.uint8)
    labels[2:8, 3:9], labels[4:6, 5:7], labels[9, 12] = 1, 2, 3
    edge = np.zeros((12, 16), np.uint8)
    edge[:3, 12:], edge[10:, 0] = 3, 1
    noise = ((np.arange(12 * 16 * 3) * 97 + 31) % 256).astype(np.uint8).reshape(12, 16, 3)
    ways: dict[str, tuple[np.ndarray, np.ndarray, float, list[int]]] = {
        "classes within each other": (picture, labels, ALPHA, [0]),
        "over any picture": (noise, labels, ALPHA, [0]),
        "at the edge of the picture": (picture, edge, ALPHA, [0]),
        "half": (picture, labels, 0.5, [0]),
        "opaque": (picture, labels, 1.0, [0]),
        "nothing": (picture, labels, 0.0, [0]),
        "background alone": (picture, np.zeros_like(labels), ALPHA, [0]),
        "a class is hidden": (picture, labels, 0.7, [0, 2]),
        "opacity out of range": (picture, labels, 1.5, [0]),
    }
    return [
        case(
            "colorize", colorized, f"colorize {name}",
            picture=below, labels=of, palette=PALETTE, alpha=alpha, hidden=hidden,
        )
        for name, (below, of, alpha, hidden) in ways.items()
    ]  # fmt: skip


def colorized(
    picture: np.ndarray, labels: np.ndarray, palette: list[list[int]], alpha: float, hidden: list[int]
) -> dict[str, Any]:
    """Colour of each pixel's class over a picture; outlines are smoothed with 1-2-1 in both directions."""
    if not 0 <= alpha <= 1:
        return refusal(str(alpha))
    drawn = np.isin(labels, hidden, invert=True)
    colors = np.array(palette, np.float64)[labels] * drawn[..., None]
    kernel = np.array([0.25, 0.5, 0.25])
    weight = np.floor(exact.filtered(FULL * drawn, kernel) + 0.5)
    smooth = np.floor(exact.filtered(colors, kernel) + 0.5)
    share = round(alpha * FULL)
    remains = np.rint(FULL - share / FULL * weight)
    mixed = (smooth * share + picture * remains[..., None]) / FULL
    return {"picture": np.floor(mixed + 0.5).astype(np.uint8), "tolerance": TOLERANCE}


def lipstick_cases() -> list[dict[str, Any]]:
    """All cases of lipstick.json."""
    made = [
        case("tones", _tones, f"tones of {name}", color=list(color), shift=shift)
        for name, color, shift in (
            ("the lipstick", LIPSTICK_COLOR, LIP_SHIFT),
            ("a light colour", (250, 200, 190), LIP_SHIFT),
            ("blue", (0, 0, 255), 1.0),
            ("grey", (128, 128, 128), 0.0),
        )
    ]
    ramp = np.stack([np.arange(64), np.arange(64) * 4 % 256, 255 - np.arange(64)], -1).astype(np.uint8)
    pixels = ramp.reshape(8, 8, 3)
    made.append(
        case("recolored", _recolored, "recolored", pixels=pixels, color=list(LIPSTICK_COLOR), shift=LIP_SHIFT)
    )
    lips = lips_mask(24)
    ways: dict[str, tuple[np.ndarray, Square, tuple[int, int], float]] = {
        "pixel by pixel": (lips, Square(4.0, 3.0, 24.0), (30, 32), 0.7),
        "the crop is coarser than the picture": (lips, Square(2.0, 2.0, 48.0), (52, 52), 0.7),
        "the crop is finer than the picture": (lips, Square(3.0, 4.0, 12.0), (20, 18), 0.9),
        "beyond the picture": (lips, Square(-8.0, 6.0, 24.0), (22, 24), 0.7),
        "no lips": (lips[[0, 1, 3, 3, 3]] // 8, Square(4.0, 3.0, 24.0), (30, 32), 0.7),
        "no strength": (lips, Square(4.0, 3.0, 24.0), (30, 32), 0.0),
    }
    for name, (mask, square, shape, strength) in ways.items():
        place = {
            "probabilities": shares(mask), "matrix": crop_matrix(square, 24).tolist(), "labels": LIPS,
            "strength": strength,
        }  # fmt: skip
        made.append(case("coverage", _lip_coverage, f"coverage {name}", shape=list(shape), **place))
        place["color"] = LIPSTICK_COLOR
        made.append(case("lipstick", lipstick, f"lipstick {name}", picture=smooth_picture(*shape), **place))
    bold = {"color": [90, 30, 160], "strength": 1.0, "labels": LIPS, "probabilities": shares(lips)}
    matrix = crop_matrix(Square(4.0, 3.0, 24.0), 24).tolist()
    made.append(
        case(
            "lipstick",
            lipstick,
            "lipstick of another colour",
            picture=smooth_picture(30, 32),
            matrix=matrix,
            **bold,
        )
    )
    without = {**bold, "labels": ["background", "skin", "lip", "mouth", "chin"]}
    made.append(
        case(
            "lipstick",
            lipstick,
            "lipstick without lips",
            picture=smooth_picture(4, 4),
            matrix=matrix,
            **without,
        )
    )
    return made


def lips_mask(size: int) -> np.ndarray:
    """(classes of LIPS, size, size) uint8 in 1 / 256: lips with soft outlines around an open mouth."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size

    def oval(down: float, wide: float, high: float) -> np.ndarray:
        far = np.sqrt(((x - 0.5) / wide) ** 2 + ((y - down) / high) ** 2)
        return np.clip(1.5 - far, 0, 1)

    inner, upper, lower = oval(0.5, 0.24, 0.09), oval(0.38, 0.34, 0.12), oval(0.63, 0.32, 0.14)
    upper, lower = upper * (1 - inner), lower * (1 - inner) * (1 - upper)
    upper = np.where(y < 0.5, upper, 0)
    rest = np.maximum(0, 1 - inner - upper - lower)
    planes = np.floor(240 * np.stack([0.1 * rest, 0.9 * rest, upper, inner, lower])).astype(np.uint8)
    planes[0] += (255 - planes.sum(axis=0, dtype=int)).astype(np.uint8)
    return planes


def _tones(color: list[int], shift: float) -> dict[str, Any]:
    return {"table": tones(_rgb(color), shift)[:, 0], "tolerance": TOLERANCE}


def _rgb(color: list[int]) -> Color:
    red, green, blue = color
    return red, green, blue


def _recolored(pixels: np.ndarray, color: list[int], shift: float) -> dict[str, Any]:
    return {"picture": recolored(pixels, _rgb(color), shift), "tolerance": TOLERANCE}


def recolored(pixels: np.ndarray, color: Color, shift: float) -> np.ndarray:
    """(height, width, 3) uint8: the colour at each pixel's luma."""
    return tones(color, shift)[:, 0][exact.luma(pixels)]


def _lip_coverage(
    probabilities: np.ndarray, matrix: list[list[float]], labels: list[str], strength: float, shape: list[int]
) -> dict[str, Any]:
    return {"opacity": lip_coverage(probabilities, matrix, labels, strength, shape), "tolerance": 2}


def lip_coverage(
    probabilities: np.ndarray, matrix: list[list[float]], labels: list[str], strength: float, shape: list[int]
) -> np.ndarray:
    """(height, width) uint8 opacity of lipstick at every pixel of a picture."""
    upper, lower, inner = (
        probabilities[labels.index(name)].astype(np.float64) for name in (UPPER_LIP, LOWER_LIP, INNER_MOUTH)
    )
    scale = exact.scale_of(np.array(matrix))
    smoothing = 0.5 * math.sqrt(max(scale**2 - 1, 0))
    deviation = math.hypot(LIP_FEATHER, smoothing if smoothing > rules.SMALLEST_DEVIATION else 0.0)
    soft = exact.filtered(upper + lower, exact.gaussian(deviation))
    x, y = exact.places(np.array(matrix), *shape)
    seen = [exact.interpolated(plane, x, y) for plane in (soft, upper, lower, inner)]
    share = _ramp(seen[0], *LIP_EDGE) / FULL
    opacity = np.rint(FULL * strength * share * share * (3 - 2 * share))
    ahead = np.maximum(np.maximum(seen[1], seen[2]), rules.NEVER_FLOOR)
    return np.rint(opacity * _ramp(ahead - seen[3], 0.0, rules.NEVER_MARGIN) / FULL).astype(np.uint8)


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip(np.rint(FULL * (values - low) / (high - low)), 0, FULL)


def lipstick(
    picture: np.ndarray, probabilities: np.ndarray, matrix: list[list[float]], labels: list[str],
    color: list[int], strength: float,
) -> dict[str, Any]:  # fmt: skip
    """Lips in another colour."""
    missing = [name for name in (UPPER_LIP, LOWER_LIP, INNER_MOUTH) if name not in labels]
    if missing:
        return refusal(missing[0])
    weight = lip_coverage(probabilities, matrix, labels, strength, list(picture.shape[:2]))[..., None].astype(
        float
    )
    painted = recolored(picture, _rgb(color), LIP_SHIFT)
    mixed = (picture * (FULL - weight) + painted * weight) / FULL
    return {"picture": np.floor(mixed + 0.5).astype(np.uint8), "tolerance": TOLERANCE}
