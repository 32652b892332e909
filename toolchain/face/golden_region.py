"""Golden cases of regions: squares, matrices between picture and crops, and the crop itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.face import golden_formulas as exact
from toolchain.face.golden_cases import case, refusal
from toolchain.face.motion import SIDE, shrunk_region
from toolchain.face.region import (
    RESIZE_RULES,
    Box,
    Square,
    central_square,
    crop_matrix,
    face_square,
    whole_square,
)

BOXES = {
    "square": Box(100.0, 80.0, 90.0, 90.0),
    "high": Box(211.5, 33.25, 60.0, 84.5),
    "wide and beyond the left edge": Box(-30.0, 12.0, 88.0, 51.0),
    "beyond the lower right corner": Box(600.0, 450.0, 75.5, 75.5),
    "a pixel": Box(7.0, 9.0, 1.0, 1.0),
}
SQUARES = {
    "inside": Square(32.0, 48.0, 128.0),
    "beyond the picture": Square(-40.5, -12.25, 333.0),
    "between pixels": Square(10.3, 20.7, 97.9),
}
# A difference of 8-bit values: interpolation in steps of 1/32 pixel and rounding.
CROP_TOLERANCE = 1
Matrix = list[list[float]]


def region_cases() -> list[dict[str, Any]]:
    """All cases of region.json."""
    return [*_square_cases(), *_matrix_cases(), *_crop_cases()]


def _square_cases() -> list[dict[str, Any]]:
    made = [
        case(
            "face_square",
            _face_square,
            f"face_square {name}, margin {margin}",
            box=box,
            margin=margin,
            shift=shift,
        )
        for name, box in BOXES.items()
        for margin, shift in ((1.0, 0.0), (1.56, -0.08))
    ]
    wholes = {
        "already whole": Square(3.0, 4.0, 5.0),
        "half sides go to even numbers": Square(0.0, 0.0, 2.5),
        "half sides up to even numbers": Square(0.0, 0.0, 3.5),
        "half edges go to even numbers": Square(0.5, 1.5, 2.0),
        "negative half edges": Square(-0.5, -1.5, 4.0),
        "no side": Square(10.2, 10.8, 0.3),
        **SQUARES,
    }
    made += [case("whole", _whole, f"whole {name}", square=square) for name, square in wholes.items()]
    for function, rule in (("whole_square", whole_square), ("central_square", central_square)):
        for height, width in ((480, 640), (641, 480), (5, 5)):
            made.append(case(function, rule, f"{function} of {width}x{height}", height=height, width=width))
    return made


def _face_square(box: Box, margin: float, shift: float) -> Square:
    return face_square(box, margin, shift)


def _whole(square: Square) -> Square:
    return square.whole()


def _matrix_cases() -> list[dict[str, Any]]:
    made = []
    for name, square in SQUARES.items():
        for size in (256, 192):
            made.append(
                case("crop_matrix", _crop_matrix, f"crop_matrix {name} {size}", square=square, size=size)
            )
        matrix = crop_matrix(square, 256).tolist()
        made.append(case("inverse", _inverse, f"inverse {name}", matrix=matrix))
        made.append(
            case("shrunk_matrix", shrunk, f"shrunk_matrix {name}", matrix=matrix, size=256, side=SIDE)
        )
    turned = [[0.8, -0.6, 12.5], [0.6, 0.8, -3.25]]
    made.append(case("inverse", _inverse, "inverse of a turned crop", matrix=turned))
    pairs = {
        "the same crop": ("inside", "inside"),
        "a larger one after": ("inside", "beyond the picture"),
        "a finer one after": ("beyond the picture", "between pixels"),
    }
    for name, (before, now) in pairs.items():
        matrices = {
            key: crop_matrix(SQUARES[place], 256).tolist()
            for key, place in (("before", before), ("now", now))
        }
        made.append(case("crop_between", _crop_between, f"crop_between {name}", **matrices))
        region = _crop_between(**matrices)["matrix"]
        made.append(
            case("shrunk_region", _shrunk_region, f"shrunk_region {name}", region=region, size=256, side=SIDE)
        )
    return made


def _crop_matrix(square: Square, size: int) -> dict[str, Matrix]:
    return {"matrix": crop_matrix(square, size).tolist()}


def _inverse(matrix: Matrix) -> dict[str, Matrix]:
    return {"matrix": exact.inverse(np.array(matrix)).tolist()}


def shrunk(matrix: Matrix, size: int, side: int) -> dict[str, Matrix]:
    """From a picture to a crop of `size` pixels, as one to the crop shrunk to `side`."""
    scale = side / size
    small = scale * np.array(matrix)
    small[:, 2] += 0.5 * scale - 0.5
    return {"matrix": small.tolist()}


def _crop_between(before: Matrix, now: Matrix) -> dict[str, Matrix]:
    return {"matrix": exact.joined(np.array(before), exact.inverse(np.array(now))).tolist()}


def _shrunk_region(region: Matrix, size: int, side: int) -> dict[str, Matrix]:
    return {"matrix": shrunk_region(np.array(region), size, side).tolist()}


def smooth_picture(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 without steps that interpolation in 1/32 pixel would show."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = 40 + 3 * x + y, 200 - 2 * x + 2 * y, 90 + x - 2 * y
    return np.clip(np.rint(np.stack(planes, axis=-1)), 0, 255).astype(np.uint8)


def _crop_cases() -> list[dict[str, Any]]:
    picture = smooth_picture(24, 32)
    squares = {
        "of the same size": (Square(4.0, 6.0, 8.0), 8),
        "enlarged": (Square(5.25, 3.5, 4.0), 8),
        "between pixels": (Square(3.3, 2.6, 9.1), 8),
        "beyond the picture is black": (Square(-4.0, 18.0, 16.0), 8),
        "three times as coarse": (Square(4.0, 0.0, 24.0), 8),
        "a little over twice as coarse": (Square(6.4, 0.7, 17.3), 8),
        "outside of the picture": (Square(100.0, 100.0, 16.0), 8),
    }
    made = [
        case(
            "crop", cropped, f"crop {resize} {name}",
            picture=picture, matrix=crop_matrix(square, size).tolist(), size=size, resize=resize,
        )
        for name, (square, size) in squares.items()
        for resize in RESIZE_RULES
    ]  # fmt: skip
    made.append(
        case(
            "crop", cropped, "crop of an unknown rule",
            picture=picture, matrix=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], size=8, resize="bicubic",
        )
    )  # fmt: skip
    return made


def cropped(picture: np.ndarray, matrix: Matrix, size: int, resize: str) -> dict[str, Any]:
    """A crop: whole blocks of pixels are averaged first where the rule says so; outside is black."""
    if resize not in RESIZE_RULES:
        return refusal("resize", resize)
    to_crop, pixels = np.array(matrix), picture.astype(np.float64)
    block = int(1 / exact.scale_of(to_crop) + 1e-6)
    if resize == "area" and block >= 2:
        part = _part(to_crop, size, picture.shape, block)
        if part is not None:
            left, top, wide, high = part
            pixels = exact.averaged(picture[top : top + high * block, left : left + wide * block], high, wide)
            middle = (block - 1) / 2
            to_crop = exact.joined(to_crop, np.array([[block, 0, left + middle], [0, block, top + middle]]))
    x, y = exact.places(exact.inverse(to_crop), size, size)
    found = np.clip(np.rint(exact.interpolated(pixels, x, y)), 0, 255).astype(np.uint8)
    return {"picture": found, "tolerance": CROP_TOLERANCE}


def _part(
    matrix: np.ndarray, size: int, shape: tuple[int, ...], block: int
) -> tuple[int, int, int, int] | None:
    """Left, top, and width and height in blocks, of what the crop shows and two blocks around it."""
    ends = (-0.5, size - 0.5)
    corners = exact.inverse(matrix) @ np.array([(x, y, 1.0) for x in ends for y in ends]).T
    limits = []
    for line, length in zip(corners, (shape[1], shape[0]), strict=True):
        low, high = np.floor(line.min()) - 2 * block, np.ceil(line.max()) + 1 + 2 * block
        limits.append((int(np.clip(low, 0, length)), int(np.clip(high, 0, length))))
    (left, right), (top, bottom) = limits
    wide, high = (right - left) // block, (bottom - top) // block
    return (left, top, wide, high) if wide > 0 and high > 0 else None
