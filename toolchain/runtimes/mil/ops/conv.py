"""Convolutions over one to three spatial axes, channels on axis 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import computes
from toolchain.runtimes.mil.ops.parameters import ints, number
from toolchain.runtimes.mil.ops.windows import BATCH_AXES, Pads, padded, pads_of, symmetric

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def _extents(weight: Tensor, dilations: Sequence[int]) -> list[int]:
    """Size of the dilated kernel along each spatial axis."""
    kernel = weight.shape[BATCH_AXES:]
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]


@computes("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | int = 1,
    bias: Tensor | None = None,
) -> Tensor:
    """Convolution: x [n, c_in, *d], weight [c_out, c_in / groups, *k], bias [c_out]."""
    axes = x.ndim - BATCH_AXES
    steps = [1] * axes if strides is None else ints(strides)
    spread = [1] * axes if dilations is None else ints(dilations)
    pads = pads_of("conv", pad_type, pad, x.shape[BATCH_AXES:], _extents(weight, spread), steps)
    if symmetric(pads):
        inside = [before for before, _ in pads]
    else:
        x, inside = padded(x, pads), [0] * axes
    return CONVOLUTIONS[axes](x, weight, bias, steps, inside, spread, int(number(groups)))


@computes("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Tensor | None = None,
    output_shape: Tensor | None = None,
    pad_type: str = "valid",
    strides: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | int = 1,
) -> Tensor:
    """Gradient of a convolution by its input: x [n, c_in, *d], weight [c_in, c_out / groups, *k].

    The sizes are those of `output_shape`, or d * stride for "same", or (d - 1) * stride + extent less the
    padding. `output_shape` must be one that the convolution maps to d.
    """
    axes = x.ndim - BATCH_AXES
    steps = [1] * axes if strides is None else ints(strides)
    spread = [1] * axes if dilations is None else ints(dilations)
    sizes, extents = x.shape[BATCH_AXES:], _extents(weight, spread)
    wanted = None if output_shape is None else ints(output_shape)[BATCH_AXES:]
    crops = _crops(pad_type, pad, wanted, sizes, extents, steps)
    inside, extra, ends = [], [], []
    for (before, after), step in zip(crops, steps, strict=True):
        beyond = before - after
        # torch crops the same on both sides, and then appends fewer elements than one stride.
        inside.append(before if 0 <= beyond < step else max(0, min(before, after)))
        extra.append(beyond if 0 <= beyond < step else max(0, -after))
        ends.append((before - inside[-1], after + extra[-1] - inside[-1]))
    y = TRANSPOSED[axes](x, weight, bias, steps, inside, extra, int(number(groups)), spread)
    for axis, (before, after) in enumerate(ends, BATCH_AXES):
        if before or after:
            y = y.narrow(axis, before, y.shape[axis] - before - after)
    return y


def _crops(
    pad_type: str,
    pad: Tensor | None,
    wanted: list[int] | None,
    sizes: Sequence[int],
    extents: Sequence[int],
    steps: Sequence[int],
) -> Pads:
    """Elements to cut off before and after the full result of each axis; a negative number appends."""
    full = [(size - 1) * step + extent for size, step, extent in zip(sizes, steps, extents, strict=True)]
    if pad_type == "same":
        wanted = wanted or [size * step for size, step in zip(sizes, steps, strict=True)]
        totals = [whole - want for whole, want in zip(full, wanted, strict=True)]
        crops = [(max(0, total) // 2, total - max(0, total) // 2) for total in totals]
    elif pad_type in ("valid", "custom"):
        crops = pads_of("conv_transpose", pad_type, pad, sizes, extents, steps)
        if wanted is not None:
            crops = [
                (before, whole - before - want)
                for (before, _), whole, want in zip(crops, full, wanted, strict=True)
            ]
    else:
        raise UnsupportedError(f"conv_transpose: padding type '{pad_type}'")
    if any(after <= -step for (_, after), step in zip(crops, steps, strict=True)):
        raise UnsupportedError(
            f"conv_transpose: output sizes {wanted} cannot come of the input sizes {[*sizes]}"
        )
    return crops
