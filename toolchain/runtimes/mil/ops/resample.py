"""Operators that sample pictures at computed places: boxes, affine transforms, any coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import flag, number
from toolchain.runtimes.mil.ops.resize import grid_points

HEIGHT_FIRST = ("CORNERS_HEIGHT_FIRST", "CENTER_SIZE_HEIGHT_FIRST")
CORNERS = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST")
BOX_MODES = (*HEIGHT_FIRST, "CORNERS_WIDTH_FIRST", "CENTER_SIZE_WIDTH_FIRST")
MINUS_ONE_TO_ONE = "normalized_minus_one_to_one"


@computes("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: Tensor | int = 1,
    target_width: Tensor | int = 1,
    normalized_coordinates: Tensor | bool = False,
    spatial_scale: Tensor | float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: Tensor | None = None,
) -> Tensor:
    """Boxes of pictures, each interpolated linearly to one size.

    A point outside of the picture is `pad_value`, like the `extrapolation_value` of TensorFlow; iOS 15 has
    none and leaves open what happens.

    Args:
        x: (B, C, H, W).
        roi: (N, 1, 4 or 5, 1, 1), up to iOS 16: boxes, the first of 5 numbers is the picture.
        boxes: (N, 4), from iOS 17 on.
        box_indices: (N,) index of the picture of each box, without it the box's own index.
        target_height: rows of the result.
        target_width: columns of the result.
        normalized_coordinates: coordinates run to 1 at the last pixel, else they are pixels.
        spatial_scale: coordinates are multiplied by it.
        box_coordinate_mode: meaning of the four numbers of a box.
        sampling_mode: where the points lie between the first and the last pixel of a box.
        pad_value: outside of the picture.

    Returns:
        (N, B, C, h, w) for boxes of 4 numbers in `roi`, (N, 1, C, h, w) for 5, (N, C, h, w) for `boxes`.
    """
    if sampling_mode == "UNALIGN_CORNERS":
        raise UnsupportedError("crop_resize: Core ML does not define UNALIGN_CORNERS for boxes")
    batch = x.shape[0]
    if boxes is None:
        if roi is None:
            raise UnsupportedError("crop_resize: there are no boxes")
        table = roi.reshape(roi.shape[0], -1)
        every = table.shape[1] == 4
        box = table[:, -4:].repeat_interleave(batch, 0) if every else table[:, 1:]
        picture = torch.arange(batch).repeat(len(table)) if every else table[:, 0].long()
        leading: tuple[int, ...] = (len(table), batch if every else 1)
    else:
        box = boxes
        picture = torch.arange(len(boxes)) if box_indices is None else box_indices.long()
        leading = (len(boxes),)
    if picture.numel() and (picture.min() < 0 or picture.max() >= batch):
        raise UnsupportedError(f"crop_resize: a box belongs to none of the {batch} pictures")
    corners = _corners(box.double() * number(spatial_scale), box_coordinate_mode)
    count = (int(number(target_height)), int(number(target_width)))
    scaled = flag(normalized_coordinates)
    rows, columns = (
        _box_points(corners[:, axis], x.shape[2 + axis], count[axis], scaled, sampling_mode)
        for axis in (0, 1)
    )
    sizes = (len(picture), *count)
    sampled = _bilinear(x[picture], columns[:, None].expand(sizes), rows[:, :, None].expand(sizes))
    outside = _outside(rows, x.shape[2])[:, :, None] | _outside(columns, x.shape[3])[:, None]
    if pad_value is None and outside.any():
        raise UnsupportedError("crop_resize: a box reaches beyond the picture, which iOS 15 does not define")
    fill = 0.0 if pad_value is None else number(pad_value)
    return sampled.masked_fill(outside[:, None], fill).reshape(*leading, *sampled.shape[1:])


def _corners(box: Tensor, mode: str) -> Tensor:
    """(N, 4) numbers -> (N, 2 axes H and W, 2 ends)."""
    if mode not in BOX_MODES:
        raise UnsupportedError(f"crop_resize: box_coordinate_mode '{mode}' is not known")
    pairs = box.reshape(-1, 2, 2)
    first, second = pairs[:, 0], pairs[:, 1]
    ends = (first, second) if mode in CORNERS else (first - second / 2, first + second / 2)
    corners = torch.stack(ends, -1)
    return corners if mode in HEIGHT_FIRST else corners.flip(1)


def _box_points(ends: Tensor, size: int, count: int, normalized: bool, mode: str) -> Tensor:
    """(N, 2) first and last place of boxes on an axis -> (N, count) places of the points."""
    start, end = (ends * (size - 1) if normalized else ends).unbind(-1)
    extent = end - start
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        # A box may run backwards: the points of [0, |extent|], in that direction.
        points = grid_points(extent.abs() + 1, count, mode)
        return start[:, None] + points * torch.where(extent < 0, -1.0, 1.0)[:, None]
    if (extent < 0).any():
        raise UnsupportedError(f"crop_resize: a box ends before it begins, which {mode} does not define")
    return start[:, None] + grid_points(extent + 1, count, mode)


def _outside(points: Tensor, size: int) -> Tensor:
    # Coordinates are float32 or float16 numbers; rounding must not push the last pixel out of the picture.
    slack = 1e-4
    return (points < -slack) | (points > size - 1 + slack)


@computes("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: Tensor,
    output_width: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Tensor,
    coordinates_mode: str,
    align_corners: Tensor,
) -> Tensor:
    """Output element (x, y), from -1 to 1, is the picture at (a0 x + a1 y + a2, b0 x + b1 y + b2), 0 outside.

    Core ML has this one combination of modes only.
    """
    modes = (sampling_mode.lower(), padding_mode.lower(), coordinates_mode.lower())
    if (
        modes != ("bilinear", "constant", MINUS_ONE_TO_ONE)
        or number(padding_value)
        or not flag(align_corners)
    ):
        raise UnsupportedError(f"affine: the modes {', '.join(modes)} are not supported by Core ML")
    height, width = int(number(output_height)), int(number(output_width))
    if min(height, width) < 2:
        raise UnsupportedError("affine: an output of one row or column has no defined place between -1 and 1")
    across, down = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)
    sizes = (height, width)
    place = torch.stack([across.expand(sizes), down[:, None].expand(sizes), torch.ones(sizes)])
    mapped = torch.einsum("bkc,chw->bhwk", transform_matrix.reshape(-1, 2, 3), place)
    mapped = mapped.expand(x.shape[0], -1, -1, -1)
    return resample(x, mapped, "bilinear", "constant", padding_value, MINUS_ONE_TO_ONE, align_corners)


@computes("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: Tensor,
    coordinates_mode: str,
    align_corners: Tensor,
) -> Tensor:
    """(B, C, H, W) at coordinates (B, h, w, 2), x before y -> (B, C, h, w).

    The nearest pixel of a place half way between two is the one with the even index, as in torch.
    """
    places = []
    for axis, size in ((0, x.shape[3]), (1, x.shape[2])):
        place = _pixels(coordinates[..., axis].double(), size, coordinates_mode.lower(), flag(align_corners))
        places.append(_padded(place, size, padding_mode.lower()))
    columns, rows = places
    if sampling_mode.lower() == "nearest":
        columns, rows = columns.round(), rows.round()
    elif sampling_mode.lower() != "bilinear":
        raise UnsupportedError(f"resample: sampling_mode '{sampling_mode}' is not known")
    fill = float(number(padding_value)) if padding_mode.lower() == "constant" else 0.0
    return _bilinear(x, columns, rows, fill)


def _pixels(coordinates: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    """Coordinates of a mode as pixels."""
    if mode == "unnormalized":
        return coordinates
    if mode not in (MINUS_ONE_TO_ONE, "normalized_zero_to_one"):
        raise UnsupportedError(f"resample: coordinates_mode '{mode}' is not known")
    unit = (coordinates + 1) / 2 if mode == MINUS_ONE_TO_ONE else coordinates
    return unit * (size - 1) if align_corners else unit * size - 0.5


def _padded(place: Tensor, size: int, mode: str) -> Tensor:
    """Places outside of an axis brought inside, unless padding is constant."""
    if mode == "constant":
        return place
    if mode == "border":
        return place.clamp(0, size - 1)
    if mode == "reflection":
        return _folded(place, 0.0, size - 1)
    if mode == "symmetric":
        return _folded(place, -0.5, size).clamp(0, size - 1)
    raise UnsupportedError(f"resample: padding_mode '{mode}' is not known")


def _folded(place: Tensor, low: float, length: int) -> Tensor:
    """Reflected at both ends of [low, low + length] until it lies inside."""
    if length == 0:
        return torch.full_like(place, low)
    turn = torch.remainder(place - low, 2 * length)
    return low + torch.minimum(turn, 2 * length - turn)


def _bilinear(x: Tensor, columns: Tensor, rows: Tensor, fill: float = 0.0) -> Tensor:
    """(B, C, H, W) at pixels (B, h, w); neighbours outside of the picture are `fill`."""
    left, top = columns.floor(), rows.floor()
    right_part, bottom_part = columns - left, rows - top
    parts = (
        (left, top, (1 - right_part) * (1 - bottom_part)),
        (left + 1, top, right_part * (1 - bottom_part)),
        (left, top + 1, (1 - right_part) * bottom_part),
        (left + 1, top + 1, right_part * bottom_part),
    )
    sampled = torch.zeros(())
    for column, row, part in parts:
        sampled = sampled + _pixel(x, column, row, fill) * part.float()[:, None]
    return sampled


def _pixel(x: Tensor, columns: Tensor, rows: Tensor, fill: float) -> Tensor:
    height, width = x.shape[2:]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    flat = index.long().reshape(len(x), 1, -1).expand(-1, x.shape[1], -1)
    picked = x.reshape(len(x), x.shape[1], -1).gather(2, flat).reshape(len(x), x.shape[1], *columns.shape[1:])
    return torch.where(inside[:, None], picked, fill)
