"""Pictures sampled at computed places."""

from __future__ import annotations

import numpy as np

from toolchain.converters.coreml.lowering import NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.coreml.ops.shape import reshaped, transposed
from toolchain.converters.node_view import Refused

# ONNX mode, with its names before and since opset 20, -> sampling_mode of MIL's RESAMPLE.
MODES = {"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest"}
# (padding_mode, align_corners) -> padding_mode of RESAMPLE: ONNX reflects at the centres of the border pixels
# if the corners are aligned, else at their edges.
PADDINGS = {
    ("zeros", 0): "constant",
    ("zeros", 1): "constant",
    ("border", 0): "border",
    ("border", 1): "border",
    ("reflection", 0): "symmetric",
    ("reflection", 1): "reflection",
}


@lowers("GridSample")
def grid_sample(context: NodeContext) -> None:
    """GridSample of pictures, linear or nearest, as RESAMPLE."""
    mode, padding = context.string("mode", "linear"), context.string("padding_mode", "zeros")
    corners = context.int("align_corners", 0)
    if len(context.shape()) != 4:
        raise Refused(f"an input of {len(context.shape())} axes", "Core ML samples pictures (N, C, H, W)")
    if mode not in MODES:
        raise Refused(f"mode '{mode}'", "use linear or nearest")
    if (padding, corners) not in PADDINGS:
        raise Refused(f"padding_mode '{padding}' is unknown", "use zeros, border or reflection")
    if not context.is_float():
        raise Refused("GridSample of integers", "cast to float32 in the network")
    made = _resample(
        context.input(),
        context.input(1),
        MODES[mode],
        PADDINGS[padding, corners],
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=bool(corners),
    )
    context.store(made)


def _resample(
    x: Var, places: Var, mode: str, padding: str, coordinates_mode: str, align_corners: bool
) -> Var:
    return mb.resample(
        x=x,
        coordinates=places,
        sampling_mode=mode,
        padding_mode=padding,
        padding_value=np.float32(0),
        coordinates_mode=coordinates_mode,
        align_corners=align_corners,
    )


@lowers("RoiAlign")
def roi_align(context: NodeContext) -> None:
    """RoiAlign of one picture by averages: one RESAMPLE for all regions, below each other, and a pool.

    Source: the definition of RoiAlign in the ONNX operator set; points at most one pixel outside of the
    picture read its border, others are 0.
    """
    _, channels, height, width = context.shape()
    rows, columns, ratio = _roi_sizes(context)
    regions = context.shape(1)[0]
    down = _points(context, 1, rows * ratio)
    across = _points(context, 0, columns * ratio)
    reps = (1, columns * ratio), (rows * ratio, 1)
    grid = [
        mb.tile(x=mb.expand_dims(x=places, axes=[axis]), reps=[1, *times])
        for places, axis, times in ((across, 1, reps[1]), (down, 2, reps[0]))
    ]
    flat = (1, regions * rows * ratio, columns * ratio, 2)
    places = reshaped(mb.stack(values=grid, axis=3), flat)
    y = _resample(context.input(), places, "bilinear", "border", "unnormalized", align_corners=True)
    inside = mb.logical_and(x=_within(grid[0], width), y=_within(grid[1], height))
    y = mb.select(cond=reshaped(inside, (1, 1, *flat[1:3])), a=y, b=np.float32(0))
    if ratio > 1:
        y = mb.avg_pool(x=y, kernel_sizes=[ratio, ratio], strides=[ratio, ratio], pad_type="valid")
    y = reshaped(y, (channels, regions, rows, columns))
    context.store(transposed(y, (1, 0, 2, 3)))


def _roi_sizes(context: NodeContext) -> tuple[int, int, int]:
    """Rows and columns of the result, and samples per row and column of each."""
    mode, ratio = context.string("mode", "avg"), context.int("sampling_ratio", 0)
    if mode != "avg":
        raise Refused(f"mode '{mode}'", "use avg")
    if ratio <= 0:
        raise Refused("sampling_ratio 0 takes as many samples as a region is large", "give sampling_ratio")
    if context.shape()[0] != 1:
        raise Refused(f"regions of {context.shape()[0]} pictures", "export with a batch of one picture")
    transformation = context.string("coordinate_transformation_mode", "half_pixel")
    if transformation not in ("half_pixel", "output_half_pixel"):
        raise Refused(f"coordinate_transformation_mode '{transformation}' is unknown", "use half_pixel")
    return context.int("output_height", 1), context.int("output_width", 1), ratio


def _points(context: NodeContext, first: int, count: int) -> Var:
    """(regions, count) sample points along an axis, in pixels.

    Args:
        context: node being lowered; its regions are (regions, 4): x1, y1, x2, y2.
        first: which of the four numbers is the region's beginning on the axis.
        count: samples.
    """
    half = context.string("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    scale, shift = np.float32(context.float("spatial_scale", 1.0)), np.float32(0.5 if half else 0)
    scaled = mb.sub(x=mb.mul(x=context.input(1), y=scale), y=shift)
    start, end = (_column(scaled, at) for at in (first, first + 2))
    extent = mb.sub(x=end, y=start)
    if not half:
        extent = mb.maximum(x=extent, y=np.float32(1))
    parts = ((np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count)).reshape(1, count)
    return mb.add(x=start, y=mb.mul(x=extent, y=parts))


def _column(x: Var, at: int) -> Var:
    return mb.slice_by_index(x=x, begin=[0, at], end=[x.shape[0], at + 1])


def _within(places: Var, length: int) -> Var:
    """Which points lie at most one pixel outside of the axis."""
    low = mb.greater_equal(x=places, y=np.float32(-1))
    return mb.logical_and(x=low, y=mb.less_equal(x=places, y=np.float32(length)))
