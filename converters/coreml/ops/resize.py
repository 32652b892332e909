"""Resize: Core ML's own operators where they compute the same, else gathering or a matrix per axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from toolchain.converters.coreml.lowering import NEURAL_NETWORK, NodeContext, lowers
from toolchain.converters.coreml.mil import Var, mb
from toolchain.converters.node_view import Refused
from toolchain.converters.sampling import Sampling

# Weights of Core ML's operators come from float32 coordinates.
WEIGHT_TOLERANCE = 1e-5
PICTURE_AXES = (3, 4)


@lowers("Resize")
def resize(context: NodeContext) -> None:
    """Resize: nearest, linear and cubic, in every coordinate mode."""
    mode = context.string("mode", "nearest")
    samplings = _samplings(context)
    _refuse_disputed(context, samplings)
    samplings = [s for s in samplings if s.size != s.length or s.mode == "tf_crop_and_resize"]
    if not samplings:
        context.store(mb.identity(x=context.input()))
    elif mode == "nearest":
        context.store(_nearest(context, samplings))
    elif mode in ("linear", "cubic"):
        context.store(_interpolate(context, samplings, mode))
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


# Nearest


def _nearest(context: NodeContext, samplings: Sequence[Sampling]) -> Var:
    rounding = context.string("nearest_mode", "round_prefer_floor")
    x = context.input()
    if any(sampling.outside().any() for sampling in samplings):
        if not context.is_float():
            raise Refused("extrapolation_value with integers", "cast to float32 in the network")
        return _multiply(context, samplings, [_one_hot(sampling, rounding) for sampling in samplings])
    indices = [sampling.nearest(rounding) for sampling in samplings]
    if _is_picture(context, samplings) and context.is_float() and _repeats(samplings, indices):
        down, across = _factors(context)
        return mb.upsample_nearest_neighbor(x=x, scale_factor_height=down, scale_factor_width=across)
    logical = context.computed_dtype() == np.bool_
    x = mb.cast(x=x, dtype="int32") if logical else x
    for place in _shrinking_first(samplings):
        x = mb.gather(x=x, indices=indices[place].astype(np.int32), axis=samplings[place].axis)
    return mb.cast(x=x, dtype="bool") if logical else x


def _is_picture(context: NodeContext, samplings: Sequence[Sampling]) -> bool:
    return len(context.shape()) in PICTURE_AXES and all(sampling.axis >= 2 for sampling in samplings)


def _one_hot(sampling: Sampling, rounding: str) -> np.ndarray:
    weights = np.eye(sampling.length, dtype=np.float32)[sampling.nearest(rounding)]
    weights[sampling.outside()] = 0
    return weights


def _repeats(samplings: Sequence[Sampling], indices: Sequence[np.ndarray]) -> bool:
    """Whether every element is repeated the same whole number of times."""
    return all(
        sampling.size % sampling.length == 0
        and np.array_equal(found, np.arange(sampling.size) // (sampling.size // sampling.length))
        for sampling, found in zip(samplings, indices, strict=True)
    )


def _factors(context: NodeContext) -> tuple[int, int]:
    """Output over input length of the last two axes."""
    down, across = (
        int(a) // int(b) for a, b in zip(context.out_shape()[-2:], context.shape()[-2:], strict=True)
    )
    return down, across


def _shrinking_first(samplings: Sequence[Sampling]) -> list[int]:
    """Places of the samplings, axes that get shorter first, which leaves less to do for the others."""
    return sorted(range(len(samplings)), key=lambda place: samplings[place].size / samplings[place].length)


# Linear and cubic


def _interpolate(context: NodeContext, samplings: Sequence[Sampling], mode: str) -> Var:
    if not context.is_float():
        raise Refused(f"mode '{mode}' with integers", "cast to float32 in the network")
    antialias = bool(context.int("antialias", 0))
    exclude = bool(context.int("exclude_outside", 0))
    if mode == "linear":
        weights = [sampling.linear(antialias, exclude) for sampling in samplings]
    else:
        a = context.float("cubic_coeff_a", -0.75)
        weights = [sampling.cubic(a, antialias, exclude) for sampling in samplings]
    extrapolates = any(sampling.outside().any() for sampling in samplings)
    if mode == "linear" and not extrapolates and _is_picture(context, samplings):
        y = _operator(context, samplings, weights)
        if y is not None:
            return y
    return _multiply(context, samplings, weights)


def _operator(
    context: NodeContext, samplings: Sequence[Sampling], weights: Sequence[np.ndarray]
) -> Var | None:
    """One of Core ML's operators with these weights; None where there is none."""
    made = (
        ("UNALIGN_CORNERS", _centred),
        ("STRICT_ALIGN_CORNERS", _aligned),
        ("DEFAULT", _cornered),
    )
    for name, places in made:
        if all(_is_linear(s, found, places) for s, found in zip(samplings, weights, strict=True)):
            return _emit(context, samplings, name)
    return None


def _centred(length: int, size: int) -> np.ndarray:
    return (np.arange(size) + 0.5) * (length / size) - 0.5


def _aligned(length: int, size: int) -> np.ndarray:
    return np.arange(size) * ((length - 1) / (size - 1))


def _cornered(length: int, size: int) -> np.ndarray:
    return np.arange(size) * (length / size)


def _is_linear(sampling: Sampling, weights: np.ndarray, places: Callable[[int, int], np.ndarray]) -> bool:
    """Whether the weights are those of linear interpolation at places held inside of the axis."""
    length, size = sampling.length, sampling.size
    if size == 1 or length == 1:
        # Core ML's documentation leaves the spacing to a single element open.
        return False
    x = np.clip(places(length, size), 0, length - 1)
    low = np.floor(x).astype(int)
    found = np.zeros((size, length))
    np.add.at(found, (np.arange(size), low), 1 - (x - low))
    np.add.at(found, (np.arange(size), np.minimum(low + 1, length - 1)), x - low)
    return np.allclose(weights, found, 0, WEIGHT_TOLERANCE)


def _emit(context: NodeContext, samplings: Sequence[Sampling], name: str) -> Var | None:
    """`upsample_bilinear` by whole factors, else `resize_bilinear`."""
    x, height, width = context.input(), *context.out_shape()[-2:]
    # An axis that stays as it is must also stay in this mode.
    stays = len(context.shape()) == 4 and min(height, width) > 1
    if not stays:
        return None
    # Neural networks have `upsample_bilinear` and centred sampling since iOS 14 only.
    older = context.goal.kind == NEURAL_NETWORK
    if older and name == "UNALIGN_CORNERS":
        return None
    if all(s.size % s.length == 0 for s in samplings) and name != "DEFAULT" and not older:
        down, across = _factors(context)
        aligned = name == "STRICT_ALIGN_CORNERS"
        return mb.upsample_bilinear(
            x=x, scale_factor_height=down, scale_factor_width=across, align_corners=aligned
        )
    return mb.resize_bilinear(x=x, target_size_height=height, target_size_width=width, sampling_mode=name)


def _multiply(context: NodeContext, samplings: Sequence[Sampling], weights: Sequence[np.ndarray]) -> Var:
    """Multiply one axis after the other with its (outputs, inputs) weights, and extrapolate."""
    x = context.input()
    for place in _shrinking_first(samplings):
        x = _multiply_axis(x, samplings[place].axis, weights[place])
    value = context.float("extrapolation_value", 0.0)
    outside = np.zeros((1,) * len(x.shape), bool)
    for sampling in samplings:
        along = [1] * len(x.shape)
        along[sampling.axis] = sampling.size
        outside = outside | sampling.outside().reshape(along)
    if value and outside.any():
        x = mb.add(x=x, y=np.where(outside, np.float32(value), np.float32(0)))
    return x


def _multiply_axis(x: Var, axis: int, weights: np.ndarray) -> Var:
    """The product of weights (outputs, inputs) with the vectors along an axis."""
    rank = len(x.shape)
    if axis == rank - 1:
        if rank == 1:
            return mb.linear(x=x, weight=weights)
        return mb.matmul(x=x, y=np.ascontiguousarray(weights.T))
    if axis == rank - 2:
        return mb.matmul(x=weights, y=x)
    before, after = prod(x.shape[:axis]), prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], weights.shape[0], *x.shape[axis + 1 :])
    view = mb.reshape(x=x, shape=(before, weights.shape[1], after))
    return mb.reshape(x=mb.matmul(x=weights, y=view), shape=shape)
