"""From a crop to an input tensor, and from an output tensor to class probabilities.

Between the two, values are planes: (channels, height, width) float32, whatever the layout of the file.
"""

from __future__ import annotations

import cv2
import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.spec import Preprocess, TensorSpec

CHANNELS_FIRST, CHANNELS_LAST = "NCHW", "NHWC"


def picture_sizes(spec: TensorSpec) -> tuple[int, int, int]:
    """Channels, height and width of a tensor that holds one picture or map.

    Raises:
        UnsupportedError: it has another layout, or more than one picture.
    """
    if spec.layout not in (CHANNELS_FIRST, CHANNELS_LAST) or len(spec.shape) != 4 or spec.shape[0] != 1:
        raise UnsupportedError(
            f"tensor '{spec.name}' has layout '{spec.layout}' and shape {spec.shape}, not one picture",
            f"supported are 1 x channels x height x width ({CHANNELS_FIRST}) and {CHANNELS_LAST}",
        )
    _, a, b, c = spec.shape
    return (a, b, c) if spec.layout == CHANNELS_FIRST else (c, a, b)


def normalized(crop: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """(x - mean) / std per channel.

    Args:
        crop: (height, width, 3) RGB uint8; made grey when the contract has a single mean.
        preprocess: mean and std on the 0-255 scale.

    Returns:
        (channels, height, width) float32.

    Raises:
        UnsupportedError: the contract wants colours in another order.
    """
    if preprocess.color != "RGB":
        raise UnsupportedError(f"colour order '{preprocess.color}' is not supported", "export with RGB input")
    if len(preprocess.mean) == 1:
        crop = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None]
    mean, std = np.array(preprocess.mean, np.float32), np.array(preprocess.std, np.float32)
    return ((crop.astype(np.float32) - mean) / std).transpose(2, 0, 1)


def picture_input(crop: np.ndarray, preprocess: Preprocess, spec: TensorSpec) -> np.ndarray:
    """A crop as the picture input of a file: normalized planes, or the pixels where the file normalizes them.

    Args:
        crop: (height, width, 3) RGB uint8.
        preprocess: mean and std on the 0-255 scale.
        spec: the input tensor.
    """
    if not spec.image:
        return to_input(normalized(crop, preprocess), spec)
    if len(preprocess.mean) == 1:
        crop = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None]
    return to_input(crop.transpose(2, 0, 1), spec)


def to_input(planes: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Planes in the layout and element type of an input tensor.

    Args:
        planes: (channels, height, width) float32.
        spec: the tensor; with a scale it is quantized as round(value / scale) + zero point.

    Raises:
        UnsupportedError: the sizes do not fit the tensor.
    """
    if planes.shape != picture_sizes(spec):
        raise UnsupportedError(
            f"input '{spec.name}' holds channels, height, width {picture_sizes(spec)}, not {planes.shape}",
            "the sidecar does not describe this network: export it again",
        )
    if spec.scale is not None:
        limits = np.iinfo(spec.dtype)
        planes = np.clip(np.rint(planes / spec.scale) + (spec.zero_point or 0), limits.min, limits.max)
    ordered = planes if spec.layout == CHANNELS_FIRST else planes.transpose(1, 2, 0)
    return np.ascontiguousarray(ordered[None], dtype=spec.dtype)


def from_output(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Inverse of `to_input`: (channels, height, width) float32 of an output tensor."""
    values = dequantized(array, spec)[0]
    return np.ascontiguousarray(values if spec.layout == CHANNELS_FIRST else values.transpose(2, 0, 1))


def dequantized(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Real values of an output, float32: (stored - zero point) * scale where it is quantized."""
    values = array.astype(np.float32)
    if spec.scale is None:
        return values
    return (values - np.float32(spec.zero_point or 0)) * np.float32(spec.scale)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the first axis, float32. (Over the last one, numpy needs ten times as long.)

    Raises:
        UnsupportedError: the logits are not finite, so that no class is the most probable.
    """
    with np.errstate(invalid="ignore"):
        exponents = np.exp(logits - logits.max(axis=0))
    total = exponents.sum(axis=0)
    if not np.isfinite(total).all():
        raise UnsupportedError(
            "the network's output is not finite", "check the model file with `toolchain verify`"
        )
    return exponents / total
