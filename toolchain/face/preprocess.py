"""From a crop to an input tensor, and from an output tensor to class probabilities.

Between the two, values are planes: (channels, height, width) float32, whatever the layout of the file. Each
step can write into an array of the caller's (`out`), so that nothing is allocated for a frame; without one,
the result is a new array.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.spec import PROBABILITIES, Preprocess, TensorSpec

CHANNELS_FIRST, CHANNELS_LAST = "NCHW", "NHWC"

# exp of a float32 neither overflows nor vanishes below this, nor does the sum over some thousand classes.
SAFE_EXPONENT = 60.0
BYTE_DTYPES = ("uint8", "int8")
# Element types that OpenCV looks up and transposes.
TABLE_DTYPES = (*BYTE_DTYPES, "int16", "float32")


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


def normalized(crop: np.ndarray, preprocess: Preprocess, out: np.ndarray | None = None) -> np.ndarray:
    """(x - mean) / std per channel.

    Args:
        crop: (height, width, 3) RGB uint8; made grey when the contract has a single mean.
        preprocess: mean and std on the 0-255 scale.
        out: (channels, height, width) float32, C-contiguous.

    Returns:
        (channels, height, width) float32.

    Raises:
        UnsupportedError: the contract wants colours in another order.
    """
    table = _float_table(*_moments(preprocess))
    shape = (table.shape[1], *crop.shape[:2])
    return _looked_up(_colors(crop, preprocess), table, _buffer(out, shape, "float32"))


def picture_input(
    crop: np.ndarray, preprocess: Preprocess, spec: TensorSpec, out: np.ndarray | None = None
) -> np.ndarray:
    """A crop as the picture input of a file: normalized planes, or the pixels where the file normalizes them.

    Args:
        crop: (height, width, 3) RGB uint8.
        preprocess: mean and std on the 0-255 scale.
        spec: the input tensor.
        out: array of the tensor's shape and element type, C-contiguous.

    Returns:
        array of the tensor's shape and element type; where the file normalizes, it may be a view of `crop`.

    Raises:
        UnsupportedError: the sizes do not fit the tensor, or the contract wants another colour order.
    """
    if spec.image:
        pixels = _colors(crop, preprocess)
        return to_input(pixels.transpose(2, 0, 1), spec, out)
    if spec.dtype not in TABLE_DTYPES:
        return to_input(normalized(crop, preprocess), spec, out)
    mean, std = _moments(preprocess)
    _check_sizes((len(mean), *crop.shape[:2]), spec)
    table = _float_table(mean, std)
    if spec.scale is not None:
        table = _quantized_table(mean, std, spec.scale, spec.zero_point or 0, spec.dtype)
    array = _buffer(out, spec.shape, spec.dtype)
    pixels = _colors(crop, preprocess)
    if spec.layout == CHANNELS_FIRST:
        _looked_up(pixels, table, array[0])
    else:
        cv2.LUT(pixels, table[None], array[0])
    return array


def to_input(planes: np.ndarray, spec: TensorSpec, out: np.ndarray | None = None) -> np.ndarray:
    """Planes in the layout and element type of an input tensor.

    Args:
        planes: (channels, height, width) float32.
        spec: the tensor; with a scale it is quantized as round(value / scale) + zero point.
        out: array of the tensor's shape and element type, C-contiguous.

    Returns:
        array of the tensor's shape and element type; a view of `planes` where they need no change.

    Raises:
        UnsupportedError: the sizes do not fit the tensor.
    """
    _check_sizes(planes.shape, spec)
    if spec.scale is not None:
        planes = _quantized(planes, spec.scale, spec.zero_point or 0, spec.dtype)
    if spec.layout == CHANNELS_LAST and planes.dtype == spec.dtype and _fast(planes):
        array = _buffer(out, spec.shape, spec.dtype)
        _transposed(planes.reshape(len(planes), -1), array.reshape(-1, len(planes)))
        return array
    ordered = (planes if spec.layout == CHANNELS_FIRST else planes.transpose(1, 2, 0))[None]
    if out is None or (ordered.flags.c_contiguous and ordered.dtype == spec.dtype):
        return np.ascontiguousarray(ordered, dtype=spec.dtype)
    np.copyto(_buffer(out, spec.shape, spec.dtype), ordered, casting="unsafe")
    return out


def from_output(array: np.ndarray, spec: TensorSpec, out: np.ndarray | None = None) -> np.ndarray:
    """Inverse of `to_input`.

    Args:
        array: an output tensor; left as it is.
        spec: the tensor.
        out: (channels, height, width) float32, C-contiguous.

    Returns:
        (channels, height, width) float32.
    """
    sizes = picture_sizes(spec)
    planes = _buffer(out, sizes, "float32")
    if array.dtype == np.float32 and spec.scale is None:
        if spec.layout == CHANNELS_LAST and _fast(array):
            _transposed(array.reshape(-1, sizes[0]), planes.reshape(sizes[0], -1))
            return planes
        values = array
    else:
        values = dequantized(array, spec)
    np.copyto(planes, values[0] if spec.layout == CHANNELS_FIRST else values[0].transpose(2, 0, 1))
    return planes


def dequantized(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Real values of an output, float32: (stored - zero point) * scale where it is quantized."""
    values = array.astype(np.float32)
    if spec.scale is None:
        return values
    values -= np.float32(spec.zero_point or 0)
    values *= np.float32(spec.scale)
    return values


def class_probabilities(array: np.ndarray, spec: TensorSpec, out: np.ndarray | None = None) -> np.ndarray:
    """Class probabilities of an output tensor, whatever its layout and element type.

    Args:
        array: the output tensor, logits or (by its name) probabilities; left as it is.
        spec: the tensor.
        out: (classes, height, width) float32, C-contiguous.

    Returns:
        (classes, height, width) float32: `softmax(from_output(array, spec))`, or without the softmax where
        the file has one.

    Raises:
        UnsupportedError: the logits are not finite.
    """
    if spec.name == PROBABILITIES:
        return from_output(array, spec, out)
    if spec.scale is not None and spec.dtype in BYTE_DTYPES and _fast(array):
        return _softmax_of_bytes(array, spec, out)
    planes = from_output(array, spec, out)
    return softmax(planes, planes)


def softmax(logits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Probabilities over the first axis.

    Args:
        logits: (classes, ...) float32; left as it is unless it is also `out`.
        out: array of the same shape, float32, C-contiguous; may be `logits`.

    Returns:
        float32 of the same shape, within 1e-6 of the exact probabilities.

    Raises:
        UnsupportedError: the logits are not finite, so that no class is the most probable.
    """
    logits = np.ascontiguousarray(logits, np.float32)
    result = _buffer(out, logits.shape, "float32")
    flat, exponents = (array.reshape(len(array), -1) for array in (logits, result))
    if cv2.norm(flat, cv2.NORM_INF) > SAFE_EXPONENT:
        # Sums are in double precision: only what is not finite makes them so.
        if not np.isfinite(cv2.sumElems(flat)[0]):
            return _softmax_with_infinities(logits, result)
        flat = np.subtract(flat, flat.max(axis=0), out=exponents)
        # OpenCV's exp is undefined for what vanishes in float32.
        np.maximum(flat, -SAFE_EXPONENT, out=exponents)
    cv2.exp(flat, exponents)
    _normalize(exponents)
    return result


def _softmax_with_infinities(logits: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Minus infinity is a probability of zero; all else that is not finite is refused."""
    with np.errstate(invalid="ignore"):
        np.subtract(logits, logits.max(axis=0), out=result)
        np.exp(result, out=result)
    total = result.sum(axis=0)
    if not np.isfinite(total).all():
        raise _not_finite()
    result /= total
    return result


def _softmax_of_bytes(array: np.ndarray, spec: TensorSpec, out: np.ndarray | None) -> np.ndarray:
    """Steps below the largest logit of a pixel are whole numbers up to 255: a table has their exponents."""
    sizes = picture_sizes(spec)
    result = _buffer(out, sizes, "float32")
    stored = array.reshape(sizes[0], -1) if spec.layout == CHANNELS_FIRST else _byte_planes(array, sizes[0])
    below = np.subtract(stored.max(axis=0), stored, dtype=stored.dtype).view(np.uint8)
    exponents = result.reshape(sizes[0], -1)
    assert spec.scale is not None
    cv2.LUT(below, _exponent_table(spec.scale), exponents)
    _normalize(exponents)
    return result


def _byte_planes(array: np.ndarray, channels: int) -> np.ndarray:
    pixels = array.reshape(-1, channels)
    return _transposed(pixels, np.empty(pixels.shape[::-1], array.dtype))


def _normalize(exponents: np.ndarray) -> None:
    """Divide (classes, pixels) by the sum over the classes, in place.

    Raises:
        UnsupportedError: a sum is not finite.
    """
    total = cv2.reduce(exponents, 0, cv2.REDUCE_SUM)
    if not np.isfinite(cv2.sumElems(total)[0]):
        raise _not_finite()
    np.multiply(exponents, np.divide(np.float32(1), total, out=total), out=exponents)


def _not_finite() -> UnsupportedError:
    return UnsupportedError(
        "the network's output is not finite", "check the model file with `toolchain verify`"
    )


def _moments(preprocess: Preprocess) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if preprocess.color != "RGB":
        raise UnsupportedError(f"colour order '{preprocess.color}' is not supported", "export with RGB input")
    return tuple(preprocess.mean), tuple(preprocess.std)


def _colors(crop: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """(height, width, channels) uint8: grey when the contract has a single mean."""
    return crop if len(preprocess.mean) > 1 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None]


@lru_cache(maxsize=32)
def _float_table(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """(256, channels) float32: the normalized value of every pixel value."""
    table = (np.arange(256.0)[:, None] - np.array(mean)) / np.array(std)
    return _frozen(table.astype(np.float32))


@lru_cache(maxsize=32)
def _quantized_table(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float, zero_point: int, dtype: str
) -> np.ndarray:
    """(256, channels) of `dtype`: the stored value of every pixel value."""
    return _frozen(_quantized(_float_table(mean, std), scale, zero_point, dtype))


@lru_cache(maxsize=8)
def _exponent_table(scale: float) -> np.ndarray:
    """(1, 256) float32: exp(-steps * scale)."""
    return _frozen(np.exp(-np.arange(256.0) * scale).astype(np.float32)[None])


def _frozen(table: np.ndarray) -> np.ndarray:
    table.setflags(write=False)
    return table


def _looked_up(pixels: np.ndarray, table: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """(height, width, channels) uint8 through a column of the table each, into (channels, height, width)."""
    for channel, plane in enumerate(planes):
        column = np.ascontiguousarray(table[:, channel])[None]
        cv2.LUT(cv2.extractChannel(pixels, channel), column, plane)
    return planes


def _quantized(values: np.ndarray, scale: float, zero_point: int, dtype: str) -> np.ndarray:
    """round(value / scale) + zero point of `dtype`, halves to even; what is out of range becomes a limit."""
    limits = np.iinfo(dtype)
    steps = np.divide(values, np.float32(scale), dtype=np.float32)
    np.rint(steps, out=steps)
    steps += np.float32(zero_point)
    return np.clip(steps, limits.min, limits.max, out=steps).astype(dtype)


def _check_sizes(sizes: tuple[int, ...], spec: TensorSpec) -> None:
    if sizes != picture_sizes(spec):
        raise UnsupportedError(
            f"input '{spec.name}' holds channels, height, width {picture_sizes(spec)}, not {sizes}",
            "the sidecar does not describe this network: export it again",
        )


def _buffer(out: np.ndarray | None, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """`out` where it fits, or a new array. Raises ValueError when it does not fit."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out is {out.dtype} {out.shape}, not a C-contiguous {dtype} {shape}")
    return out


def _fast(array: np.ndarray) -> bool:
    return array.dtype.name in TABLE_DTYPES and array.flags.c_contiguous and array.ndim > 2


def _transposed(matrix: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write the transpose of a C-contiguous matrix into `out` (numpy needs three times as long)."""
    return cv2.transpose(matrix, out)
