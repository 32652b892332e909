"""What enters a Core ML model and what leaves it: images, arrays and labels as an app hands them over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes.base import DYNAMIC, Arrays
from toolchain.runtimes.coreml_file import DAMAGED, CoreMLFile
from toolchain.spec import TensorSpec, shape_text

GREY, RGB = "grayscale", "RGB"
# Names of FeatureTypes.proto, ArrayFeatureType.ArrayDataType.
ARRAY_TYPES = {
    "FLOAT32": "float32",
    "DOUBLE": "float64",
    "INT32": "int32",
    "FLOAT16": "float16",
    "INT8": "int8",
}
COLOR_SPACES = {"RGB": RGB, "BGR": RGB, "GRAYSCALE": GREY, "GRAYSCALE_FLOAT16": GREY}
FLOAT_IMAGE = "GRAYSCALE_FLOAT16"
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Of PIL images with 8 bits per channel whose colours need no profile."""
TEXT = "str"
LABELS = {"stringType": TEXT, "int64Type": "int64"}
LARGEST = 1 << 31
"""Elements of the largest tensor that is believed; a phone has no memory for more."""
BRIGHTEST = 255


def read_inputs(file: CoreMLFile) -> tuple[TensorSpec, ...]:
    """Inputs as an app hands them over: images are (1, H, W, channels) uint8, or float16 where the colour
    space says so, arrays as the file states; a size that the file leaves open is DYNAMIC.

    Raises:
        UnsupportedError: an input is neither an image nor an array, or has no possible name, type or size.
    """
    features = file.spec.description.input
    _check_names(file, features, "input")
    return tuple(_input(file, feature) for feature in features)


def read_outputs(file: CoreMLFile) -> tuple[TensorSpec, ...]:
    """Outputs as `run` returns them; a size that the file leaves open is DYNAMIC, an unknown rank is ().

    Raises:
        UnsupportedError: there is none, or one cannot be computed.
    """
    features = file.spec.description.output
    if not features:
        raise UnsupportedError(f"'{file.path}' has no outputs", "convert the network again with an output")
    _check_names(file, features, "output")
    return tuple(_output(file, feature) for feature in features)


def _check_names(file: CoreMLFile, features: Iterable[Any], what: str) -> None:
    names = [feature.name for feature in features]
    if "" in names or len(set(names)) < len(names):
        raise UnsupportedError(f"'{file.path}' has {what}s without a name of their own: {names}", DAMAGED)


def _input(file: CoreMLFile, feature: Any) -> TensorSpec:
    kind = feature.type.WhichOneof("Type")
    if kind not in ("imageType", "multiArrayType"):
        raise UnsupportedError(
            f"input '{feature.name}' of '{file.path}' is a {kind}", "images and multi-arrays are supported"
        )
    spec = _image(file, feature) if kind == "imageType" else _array(file, feature)
    if any(size < 1 and size != DYNAMIC for size in spec.shape) or abs(prod(spec.shape)) > LARGEST:
        raise UnsupportedError(f"input '{feature.name}' of '{file.path}' has the shape {spec.shape}", DAMAGED)
    return spec


def _output(file: CoreMLFile, feature: Any) -> TensorSpec:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        return _image(file, feature)
    if kind == "multiArrayType":
        return _array(file, feature)
    if kind == "dictionaryType":
        return TensorSpec(feature.name, (DYNAMIC,))
    if kind in LABELS:
        return TensorSpec(feature.name, (), LABELS[kind])
    raise UnsupportedError(
        f"output '{feature.name}' of '{file.path}' is a {kind}",
        "images, multi-arrays and labels are supported",
    )


def _named(message: Any, field: str) -> str:
    """Name of an enumeration's value; its number when there is none."""
    value = getattr(message, field)
    found = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(value)
    return found.name if found is not None else str(value)


def color_space(feature: Any) -> str | None:
    """Colour space of an image, "RGB", "BGR" or "GRAYSCALE"; None for what is no image."""
    is_image = feature.type.WhichOneof("Type") == "imageType"
    return _named(feature.type.imageType, "colorSpace") if is_image else None


def _image(file: CoreMLFile, feature: Any) -> TensorSpec:
    image, space = feature.type.imageType, color_space(feature)
    if space not in COLOR_SPACES:
        raise UnsupportedError(
            f"image '{feature.name}' of '{file.path}' has the colour space {space}",
            f"supported are {', '.join(COLOR_SPACES)}",
        )
    sizes: tuple[int, ...] = (int(image.height), int(image.width))
    which = image.WhichOneof("SizeFlexibility")
    if which is not None:
        sizes = _open_sizes(sizes, _listed(feature.type), _ranges(feature.type))
    color = COLOR_SPACES[space]
    channels = 1 if color == GREY else 3
    dtype = "float16" if space == FLOAT_IMAGE else "uint8"
    return TensorSpec(feature.name, (1, *sizes, channels), dtype, "NHWC", image=color)


def _array(file: CoreMLFile, feature: Any) -> TensorSpec:
    array = feature.type.multiArrayType
    name = _named(array, "dataType")
    if name not in ARRAY_TYPES:
        raise UnsupportedError(
            f"array '{feature.name}' of '{file.path}' has the element type {name}",
            f"supported are {', '.join(ARRAY_TYPES)}",
        )
    sizes = tuple(int(size) for size in array.shape)
    listed, ranges = _listed(feature.type), _ranges(feature.type)
    if any(len(shape) != len(sizes) for shape in listed) or (sizes and ranges and len(ranges) != len(sizes)):
        raise UnsupportedError(
            f"array '{feature.name}' of '{file.path}' has shapes of different rank",
            "fix the number of its axes",
        )
    return TensorSpec(feature.name, _open_sizes(sizes, listed, ranges), ARRAY_TYPES[name])


Range = tuple[int, int]
"""Least and largest size; the largest is DYNAMIC when there is no limit."""


def _listed(kind: Any) -> list[tuple[int, ...]]:
    """The shapes (of images: height and width) that a feature type lists, the default one first."""
    if kind.WhichOneof("Type") == "imageType":
        image = kind.imageType
        if image.WhichOneof("SizeFlexibility") != "enumeratedSizes":
            return []
        sizes = [image, *image.enumeratedSizes.sizes]
        return [(int(size.height), int(size.width)) for size in sizes]
    array = kind.multiArrayType
    if array.WhichOneof("ShapeFlexibility") != "enumeratedShapes":
        return []
    own = [tuple(array.shape)] if array.shape else []
    return [*own, *(tuple(int(size) for size in shape.shape) for shape in array.enumeratedShapes.shapes)]


def _ranges(kind: Any) -> list[Range]:
    """The range of each size (of images: height and width) that a feature type leaves open."""
    if kind.WhichOneof("Type") == "imageType":
        image = kind.imageType
        if image.WhichOneof("SizeFlexibility") != "imageSizeRange":
            return []
        found = [image.imageSizeRange.heightRange, image.imageSizeRange.widthRange]
    elif kind.multiArrayType.WhichOneof("ShapeFlexibility") == "shapeRange":
        found = list(kind.multiArrayType.shapeRange.sizeRanges)
    else:
        found = []
    return [(int(item.lowerBound), int(item.upperBound)) for item in found]


def _open_sizes(
    sizes: tuple[int, ...], listed: list[tuple[int, ...]], ranges: list[Range]
) -> tuple[int, ...]:
    if ranges:
        return tuple(low if low == high else DYNAMIC for low, high in ranges)
    if listed:
        columns = zip(*listed, strict=True)
        return tuple(column[0] if len(set(column)) == 1 else DYNAMIC for column in columns)
    return sizes


def check_sizes(features: Iterable[Any], arrays: Arrays) -> None:
    """Raises UsageError for an input of a size that the file does not allow; Core ML refuses it as well."""
    for feature in features:
        shape = arrays[feature.name].shape
        is_image = feature.type.WhichOneof("Type") == "imageType"
        sizes = shape[1:3] if is_image else shape
        listed, ranges = _listed(feature.type), _ranges(feature.type)
        if listed and sizes not in listed:
            raise UsageError(
                f"input '{feature.name}' has the size {shape_text(sizes)}, which the file does not list",
                f"it lists {', '.join(shape_text(size) for size in dict.fromkeys(listed))}",
            )
        for size, (low, high) in zip(sizes, ranges, strict=False):
            if size < low or (high >= 0 and size > high):
                limit = f"{low} to {high}" if high >= 0 else f"at least {low}"
                raise UsageError(
                    f"input '{feature.name}' has the size {shape_text(sizes)}, out of the file's range",
                    f"{size} must be {limit}",
                )


def defaults(features: Iterable[Any], specs: Iterable[TensorSpec]) -> Arrays:
    """Values of optional inputs for which the file states one; their shape is the file's default shape."""
    found = {}
    for feature, spec in zip(features, specs, strict=True):
        array = feature.type.multiArrayType
        which = array.WhichOneof("defaultOptionalValue")
        if feature.type.isOptional and which is not None:
            shape = tuple(array.shape) if DYNAMIC in spec.shape else spec.shape
            found[feature.name] = np.full(shape, getattr(array, which), spec.dtype)
    return found


def pixels(value: Any, spec: TensorSpec) -> Any:
    """A PIL image or an array without batch axis as an array of the image input's four axes.

    Raises:
        UsageError: a PIL image with more than 8 bits per channel, of another colour space, partly
            transparent, or that cannot be decoded.
    """
    if hasattr(value, "convert") and hasattr(value, "getbands"):
        value = _decoded(value, spec)
    if not isinstance(value, np.ndarray):
        return value
    if spec.image == GREY and value.ndim == 2:
        value = value[:, :, None]
    return value[None] if value.ndim == 3 else value


def _decoded(image: Any, spec: TensorSpec) -> np.ndarray:
    if spec.dtype == "float16":
        if image.mode != "F":
            raise UsageError(
                f"input '{spec.name}' takes a picture of numbers, not one of mode {image.mode}",
                "give an array float16 (H, W), or image.convert('F') in the network's range",
            )
        return np.asarray(image)
    if image.mode not in MODES:
        raise UsageError(
            f"the picture for '{spec.name}' has the mode {image.mode}",
            "bring it to 8 bits per channel: image.convert('RGB')",
        )
    try:
        image.load()
        clear = "A" in image.getbands() or "transparency" in image.info
        if clear and image.convert("RGBA").getchannel("A").getextrema()[0] < BRIGHTEST:
            raise UsageError(
                f"the picture for '{spec.name}' is partly transparent", "draw it on a background first"
            )
        return np.asarray(image.convert("L" if spec.image == GREY else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(
            f"the picture for '{spec.name}' cannot be decoded: {error}", "is it cut off?"
        ) from error


def entered(array: np.ndarray, space: str | None) -> np.ndarray:
    """An image as the network computes with it: float32 (1, channels, H, W) in its own channel order."""
    if space is None:
        return array
    ordered = array[..., ::-1] if space == "BGR" else array
    return np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), np.float32)


def left(value: Any, spec: TensorSpec, space: str | None) -> np.ndarray:
    """An output as `run` returns it.

    Raises:
        UnsupportedError: it is not of the kind, shape or range that the file promises.
    """
    if space is not None:
        return _left_image(np.asarray(value, np.float32), spec, space)
    if isinstance(value, Mapping):
        if spec.shape != (DYNAMIC,):
            raise UnsupportedError(f"output '{spec.name}' has become probabilities, the file says an array")
        return np.array(list(value.values()), np.float32)
    array = np.asarray(value)
    if array.dtype.kind not in ("U" if spec.dtype == TEXT else "biuf"):
        raise UnsupportedError(f"output '{spec.name}' has become {array.dtype}, the file says {spec.dtype}")
    if spec.shape and not _fits(spec.shape, array.shape):
        raise UnsupportedError(
            f"output '{spec.name}' has the shape {array.shape}, the file says {spec.shape}"
        )
    if spec.dtype == TEXT or array.dtype == spec.dtype:
        return array
    if (
        array.dtype.kind == "f"
        and np.dtype(spec.dtype).kind == "i"
        and not np.array_equal(array, np.rint(array))
    ):
        raise UnsupportedError(
            f"output '{spec.name}' has fractions, the file says {spec.dtype}", "round it in the network"
        )
    with np.errstate(over="ignore"):
        return array.astype(spec.dtype)


def _left_image(value: np.ndarray, spec: TensorSpec, space: str) -> np.ndarray:
    planes = value[None] if value.ndim == 3 else value
    if planes.ndim != 4 or not _fits(spec.shape, tuple(planes.shape[axis] for axis in (0, 2, 3, 1))):
        raise UnsupportedError(
            f"output '{spec.name}' has the shape {value.shape}, which is no picture {spec.shape}"
        )
    if spec.dtype != "uint8":
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1), spec.dtype)
    if np.isnan(planes).any():
        raise UnsupportedError(f"output '{spec.name}' is a picture with values that are no numbers")
    levels = np.clip(np.rint(planes), 0, BRIGHTEST).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(levels[..., ::-1] if space == "BGR" else levels)


def _fits(stated: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a shape is the stated one; sizes of 0 are not stated."""
    return len(stated) == len(shape) and all(
        want in (have, 0, DYNAMIC) for want, have in zip(stated, shape, strict=True)
    )
