"""Which operations of a MIL program a neural network for iOS 13 has a layer for.

The older format grew with iOS 14; coremltools raises the version of the whole file for a layer, or a form of
one, that came then.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.converters.coreml.mil import Operation, Var

# Axes of a batch of channels of pictures; windows over three axes came with iOS 14.
PICTURE_AXES = 4


def missing_layer(operation: Operation) -> str:
    """Why an operation cannot be a layer of iOS 13; empty if it can."""
    from coremltools.converters.mil.backend.nn.mil_to_nn_mapping_registry import MIL_TO_NN_MAPPING_REGISTRY

    name = operation.op_type
    if name not in MIL_TO_NN_MAPPING_REGISTRY:
        return f"neural networks have no layer for '{name}'"
    if name in LATER_LAYERS:
        return f"neural networks have no layer for '{name}' before iOS 14"
    form = LATER_FORMS[name](operation) if name in LATER_FORMS else ""
    return f"neural networks have no '{name}' {form}" if form else ""


def _over_three_axes(operation: Operation) -> str:
    return "over three axes before iOS 14" if operation.x.rank > PICTURE_AXES else ""


def _squeezing(operation: Operation) -> str:
    return "that removes axes before iOS 14" if _any(operation.squeeze_mask) else ""


def _interleaving(operation: Operation) -> str:
    return "that interleaves before iOS 14" if _any(operation.interleave) else ""


def _computed_repeats(operation: Operation) -> str:
    return "by a computed number before iOS 14" if operation.reps.val is None else ""


def _fractional(operation: Operation) -> str:
    """Why it cannot be a repetition of pixels: coremltools would interpolate linearly instead."""
    found = operation.outputs[0].shape[-2:]
    whole = all(size % length == 0 for size, length in zip(found, operation.x.shape[-2:], strict=True))
    return "but by whole factors" if not whole else ""


def _any(flags: Var | None) -> bool:
    return flags is not None and bool(np.any(flags.val))


LATER_LAYERS = frozenset(
    {"argsort", "clamped_relu", "cumsum", "one_hot", "pixel_shuffle", "upsample_bilinear"}
)
LATER_FORMS: dict[str, Callable[[Operation], str]] = {
    "avg_pool": _over_three_axes,
    "concat": _interleaving,
    "conv": _over_three_axes,
    "conv_transpose": _over_three_axes,
    "max_pool": _over_three_axes,
    "resize_nearest_neighbor": _fractional,
    "slice_by_index": _squeezing,
    "tile": _computed_repeats,
    "upsample_nearest_neighbor": _fractional,
}
