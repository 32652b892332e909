"""Resize: TFLite's own operators where they compute the same, else gathering or one small matrix per axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from toolchain.converters.sampling import Sampling
from toolchain.converters.tflite.layout import NodeLayout, Perm, along_axes, shape_of, spatial
from toolchain.converters.tflite.lowering import NodeContext, Refused, lowers
from toolchain.converters.tflite.ops import steps
from toolchain.converters.tflite.ops.expression import Expression
from toolchain.converters.tflite.program import Op, Tensor

NEAREST_TYPES = ("float32", "int8", "uint8")
CENTRED_VERSION = 3
# (align_corners, half_pixel_centers) of TFLite's operators.
FLAGS = ((False, False), (False, True), (True, False))
# Weights of TFLite's operator come from float32 coordinates.
WEIGHT_TOLERANCE = 1e-5


def resized(node: ir.Node, perms: Sequence[Perm]) -> NodeLayout:
    """Channel-last where one or two spatial axes change, else as the input is."""
    source, target = shape_of(node.inputs[0]), shape_of(node.outputs[0])  # type: ignore[arg-type]
    kept = len(source) in (3, 4) and source[:2] == target[:2]
    return spatial(node, perms) if kept else along_axes(node, perms)


@lowers("Resize", layout=resized)
def resize(context: NodeContext) -> None:
    """Resize: nearest, linear and cubic, in every coordinate mode."""
    mode = context.string("mode", "nearest")
    samplings = _samplings(context)
    _refuse_disputed(context, samplings)
    samplings = [s for s in samplings if s.size != s.length or s.mode == "tf_crop_and_resize"]
    if not samplings:
        context.alias(context.input())
    elif mode == "nearest":
        _nearest(context, samplings)
    elif mode in ("linear", "cubic"):
        _interpolate(context, samplings, mode)
    else:
        raise Refused(f"mode '{mode}' is unknown", "use nearest, linear or cubic")


def _refuse_disputed(context: NodeContext, samplings: Sequence[Sampling]) -> None:
    """Refuse that in which ONNX's own reference and ONNX Runtime do not agree."""
    mode = context.string("coordinate_transformation_mode", "half_pixel")
    parted = [sampling for sampling in samplings if not sampling.whole]
    wide = context.string("mode", "nearest") == "cubic" or context.int("antialias", 0)
    what = ""
    if context.shape() == context.out_shape() and (parted or mode == "tf_crop_and_resize"):
        what = "resampling to the same size"
    elif mode in ("align_corners", "tf_crop_and_resize") and parted:
        what = f"scale {parted[0].scale:g} of length {parted[0].length}"
    elif mode == "pytorch_half_pixel" and wide and any(s.size == 1 < s.length for s in samplings):
        what = "cubic or antialiased resampling to length 1"
    if what:
        hint = "give sizes instead of scales, or use half_pixel"
        raise Refused(f"{what} with '{mode}', on which runtimes disagree", hint)


def _samplings(context: NodeContext) -> list[Sampling]:
    """How each axis is resampled."""
    source, target = context.shape(), context.out_shape()
    rank = len(source)
    if 0 in source or 0 in target:
        raise Refused("an axis of length 0", "export with an input shape that has no empty axis")
    axes = [axis % rank for axis in context.ints("axes", range(rank))]
    scales = _scales(context, axes)
    mode = context.string("coordinate_transformation_mode", "half_pixel")
    regions = dict.fromkeys(axes, (0.0, 1.0))
    if mode == "tf_crop_and_resize":
        roi = context.constant(1, "the region (roi)").tolist()
        regions = {axis: (roi[place], roi[place + len(axes)]) for place, axis in enumerate(axes)}
    return [
        Sampling(axis, source[axis], target[axis], scales[axis], regions[axis], mode) for axis in sorted(axes)
    ]


def _scales(context: NodeContext, axes: Sequence[int]) -> dict[int, float]:
    """Scale of each axis."""
    source, target = context.shape(), context.out_shape()
    policy = context.string("keep_aspect_ratio_policy", "stretch")
    scales = context.optional_constant(2, "the scale")
    if scales is not None and scales.size:
        found = {axis: float(scale) for axis, scale in zip(axes, scales, strict=True)}
        wanted = [int(np.floor(np.float32(source[axis]) * np.float32(found[axis]))) for axis in axes]
    else:
        sizes = context.constant(3, "the size")
        ratios = {axis: int(size) / source[axis] for axis, size in zip(axes, sizes, strict=True)}
        if policy == "not_larger":
            ratios = dict.fromkeys(axes, min(ratios.values()))
        elif policy == "not_smaller":
            ratios = dict.fromkeys(axes, max(ratios.values()))
        elif policy != "stretch":
            raise Refused(f"keep_aspect_ratio_policy '{policy}' is unknown", "use stretch")
        found = ratios
        wanted = [int(np.floor(source[axis] * found[axis] + 0.5)) for axis in axes]
    if wanted != [target[axis] for axis in axes]:
        raise Refused(
            f"scales, sizes and keep_aspect_ratio_policy give the lengths {wanted},"
            f" the graph says {[target[axis] for axis in axes]}",
            "give sizes instead of scales",
        )
    return found


def _nearest(context: NodeContext, samplings: Sequence[Sampling]) -> None:
    dtype = context.dtype().name
    if any(sampling.outside().any() for sampling in samplings):
        if dtype != "float32":
            raise Refused(f"extrapolation_value with {dtype}", "cast to float32 in the network")
        rounding = context.string("nearest_mode", "round_prefer_floor")
        _multiply(context, samplings, [_one_hot(sampling, rounding) for sampling in samplings])
        return
    indices = [s.nearest(context.string("nearest_mode", "round_prefer_floor")) for s in samplings]
    if _is_picture(context, samplings) and dtype in NEAREST_TYPES:
        for flags in FLAGS:
            made = [_tflite_nearest(s.length, s.size, *flags) for s in samplings]
            if all(np.array_equal(a, b) for a, b in zip(indices, made, strict=True)):
                _emit_resize(context, Op.RESIZE_NEAREST_NEIGHBOR, *flags)
                return
    _gather(context, samplings, indices)


def _is_picture(context: NodeContext, samplings: Sequence[Sampling]) -> bool:
    return len(context.shape()) in (3, 4) and all(sampling.axis >= 2 for sampling in samplings)


def _one_hot(sampling: Sampling, rounding: str) -> np.ndarray:
    weights = np.eye(sampling.length, dtype=np.float32)[sampling.nearest(rounding)]
    weights[sampling.outside()] = 0
    return weights


def _tflite_nearest(length: int, size: int, align_corners: bool, half_pixel: bool) -> np.ndarray:
    """The indices that RESIZE_NEAREST_NEIGHBOR reads, in its float32 arithmetic."""
    x = np.arange(size, dtype=np.float32) + np.float32(0.5 if half_pixel else 0)
    x *= _tflite_scale(length, size, align_corners)
    # TFLite rounds halves away from zero.
    found = np.floor(x + np.float32(0.5)) if align_corners else np.floor(x)
    return np.clip(found, 0, length - 1).astype(np.int32)


def _tflite_scale(length: int, size: int, align_corners: bool) -> np.float32:
    if align_corners and size > 1:
        return np.float32(length - 1) / np.float32(size - 1)
    return np.float32(length) / np.float32(size)


def _tflite_linear(length: int, size: int, align_corners: bool, half_pixel: bool) -> np.ndarray:
    """The weights (outputs, inputs) with which RESIZE_BILINEAR interpolates along an axis."""
    shift = np.float32(0.5 if half_pixel else 0)
    x = (np.arange(size, dtype=np.float32) + shift) * _tflite_scale(length, size, align_corners) - shift
    x = np.clip(x, 0, length - 1)
    low = np.floor(x).astype(int)
    weights = np.zeros((size, length), np.float32)
    np.add.at(weights, (np.arange(size), low), 1 - (x - low))
    np.add.at(weights, (np.arange(size), np.minimum(low + 1, length - 1)), x - low)
    return weights


def _emit_resize(context: NodeContext, code: int, align_corners: bool, half_pixel: bool) -> None:
    """A resizing operator on the spatial axes; a sequence becomes a picture of height 1."""
    nearest = code == Op.RESIZE_NEAREST_NEIGHBOR
    options = schema.ResizeNearestNeighborOptionsT() if nearest else schema.ResizeBilinearOptionsT()
    options.alignCorners, options.halfPixelCenters = align_corners, half_pixel
    x, size = context.input(), context.out_shape()
    centred = half_pixel or (align_corners and nearest)
    version = CENTRED_VERSION if centred else 2 if x.dtype == np.int8 else 1
    if len(size) == 4:
        context.emit(code, [x, context.int_const(size[2:], "size")], context.output(), options, version)
        return
    x = context.reshape(x, (x.shape[0], 1, *x.shape[1:]), "row")
    made = context.temp((size[0], 1, size[2], size[1]), x.dtype, "rows")
    context.emit(code, [x, context.int_const((1, size[2]), "size")], made, options, version)
    context.reshape_to_output(made)


def _gather(context: NodeContext, samplings: Sequence[Sampling], indices: Sequence[np.ndarray]) -> None:
    """Pick the elements of one axis after the other."""
    x = context.input()
    for place in _shrinking_first(samplings):
        wanted = context.int_const(indices[place].tolist(), "indices")
        x = steps.gather(context, x, wanted, context.axis(samplings[place].axis))
    steps.store(context, x)


def _shrinking_first(samplings: Sequence[Sampling]) -> list[int]:
    """Places of the samplings, axes that get shorter first, which leaves less to do for the others."""
    return sorted(range(len(samplings)), key=lambda place: samplings[place].size / samplings[place].length)


def _interpolate(context: NodeContext, samplings: Sequence[Sampling], mode: str) -> None:
    if context.dtype() != np.float32:
        raise Refused(f"mode '{mode}' with {context.dtype().name}", "cast to float32 in the network")
    antialias = bool(context.int("antialias", 0))
    exclude = bool(context.int("exclude_outside", 0))
    if mode == "linear":
        weights = [sampling.linear(antialias, exclude) for sampling in samplings]
    else:
        a = context.float("cubic_coeff_a", -0.75)
        weights = [sampling.cubic(a, antialias, exclude) for sampling in samplings]
    extrapolates = any(sampling.outside().any() for sampling in samplings)
    if mode == "linear" and _is_picture(context, samplings) and not extrapolates:
        for flags in FLAGS:
            made = [_tflite_linear(s.length, s.size, *flags) for s in samplings]
            if all(np.allclose(a, b, 0, WEIGHT_TOLERANCE) for a, b in zip(weights, made, strict=True)):
                _emit_resize(context, Op.RESIZE_BILINEAR, *flags)
                return
    _multiply(context, samplings, weights)


def _multiply(context: NodeContext, samplings: Sequence[Sampling], weights: Sequence[np.ndarray]) -> None:
    """Multiply one axis after the other with its (outputs, inputs) weights, and extrapolate."""
    x = context.input()
    for place in _shrinking_first(samplings):
        x = _multiply_axis(context, x, context.axis(samplings[place].axis), weights[place])
    value = context.float("extrapolation_value", 0.0)
    outside = np.zeros((1,) * len(x.shape), bool)
    for sampling in samplings:
        along = [1] * len(x.shape)
        along[context.axis(sampling.axis)] = sampling.size
        outside = outside | sampling.outside().reshape(along)
    result = Expression(context, x)
    if value and outside.any():
        beyond = context.const(np.where(outside, np.float32(value), np.float32(0)), "extrapolation")
        result = result + Expression(context, beyond)
    result.store()


def _multiply_axis(context: NodeContext, x: Tensor, axis: int, weights: np.ndarray) -> Tensor:
    """The product of weights (outputs, inputs) with the vectors along a storage axis."""
    before, after = prod(x.shape[:axis]), prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], weights.shape[0], *x.shape[axis + 1 :])
    view = steps.reshape(context, x, (before, weights.shape[1], after))
    made = context.temp((before, weights.shape[0], after), x.dtype, "products")
    matrix = context.const(weights[None], "weights")
    context.emit(Op.BATCH_MATMUL, [matrix, view], made, schema.BatchMatMulOptionsT())
    return steps.reshape(context, made, shape)
