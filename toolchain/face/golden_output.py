"""Golden cases of tensors: a crop as an input, an output as probabilities, probabilities as labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.face import golden_formulas as exact
from toolchain.face.golden_cases import case, refusal, shares
from toolchain.face.golden_motion import smooth_mask
from toolchain.face.golden_region import smooth_picture
from toolchain.face.region import Square, crop_matrix
from toolchain.spec import PROBABILITIES, TensorSpec

COLORS = {"color": "RGB", "mean": [127.5, 110.0, 95.25], "std": [127.5, 60.0, 58.5]}
# Two probabilities of a pixel are apart by this much, or exactly the same: rounding decides nothing.
CLEAR = 1e-4


def output_cases() -> list[dict[str, Any]]:
    """All cases of output.json."""
    return [*_picture_cases(), *_mask_cases(), *_probability_cases(), *_argmax_cases()]


def tensor(
    shape: tuple[int, ...], layout: str, dtype: str = "float32", scale: float | None = None,
    zero_point: int | None = None, name: str = "tensor", image: str = "",
) -> TensorSpec:  # fmt: skip
    """A tensor of a sidecar."""
    return TensorSpec(name, shape, dtype, layout, scale, zero_point, image)


def _picture_cases() -> list[dict[str, Any]]:
    picture = smooth_picture(3, 4)
    picture[0, :2] = ((0, 0, 0), (255, 255, 255))
    grey = {"color": "RGB", "mean": [100.0], "std": [50.0]}
    tensors = {
        "planes": (COLORS, tensor((1, 3, 3, 4), "NCHW")),
        "side by side": (COLORS, tensor((1, 3, 4, 3), "NHWC")),
        "int8": (COLORS, tensor((1, 3, 4, 3), "NHWC", "int8", 0.0078125, -3)),
        "uint8": (COLORS, tensor((1, 3, 4, 3), "NHWC", "uint8", 0.015625, 127)),
        "pixels that the file normalizes": (COLORS, tensor((1, 3, 4, 3), "NHWC", "uint8", image="RGB")),
        "grey": (grey, tensor((1, 1, 3, 4), "NCHW")),
        "another order of colours": ({**COLORS, "color": "BGR"}, tensor((1, 3, 4, 3), "NHWC")),
    }
    return [
        case(
            "picture_input", picture_input, f"picture_input {name}",
            picture=picture, preprocessing=preprocessing, tensor=of,
        )
        for name, (preprocessing, of) in tensors.items()
    ]  # fmt: skip


def picture_input(
    picture: np.ndarray, preprocessing: dict[str, Any], tensor: dict[str, Any]
) -> dict[str, Any]:
    """A crop as the picture input of a file."""
    if preprocessing["color"] != "RGB":
        return refusal(preprocessing["color"])
    grey = len(preprocessing["mean"]) == 1
    pixels = (exact.luma(picture)[:, :, None] if grey else picture).astype(np.float64)
    if not tensor["image"]:
        pixels = (pixels - preprocessing["mean"]) / preprocessing["std"]
    return {"array": _stored(pixels.transpose(2, 0, 1), tensor)}


def _stored(planes: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Planes in the layout and element type of a tensor; halves go to even numbers."""
    values = planes
    if tensor["scale"] is not None:
        limits = np.iinfo(tensor["dtype"])
        steps = np.rint((values.astype(np.float32) / np.float32(tensor["scale"])).astype(np.float32))
        values = np.clip(steps + tensor["zero_point"], limits.min, limits.max)
    ordered = values if tensor["layout"] == "NCHW" else values.transpose(1, 2, 0)
    return ordered[None].astype(tensor["dtype"])


def _mask_cases() -> list[dict[str, Any]]:
    planes = shares(smooth_mask(3, 4))
    tensors = {
        "planes": tensor((1, 3, 4, 4), "NCHW"),
        "side by side": tensor((1, 4, 4, 3), "NHWC"),
        "int8, halves to even": tensor((1, 4, 4, 3), "NHWC", "int8", 0.0078125, -128),
        "uint8, beyond its limits": tensor((1, 3, 4, 4), "NCHW", "uint8", 0.001953125, 4),
    }
    return [
        case("mask_input", _mask_input, f"mask_input {name}", planes=planes, tensor=of)
        for name, of in tensors.items()
    ]


def _mask_input(planes: np.ndarray, tensor: dict[str, Any]) -> dict[str, np.ndarray]:
    return {"array": _stored(planes, tensor)}


def _probability_cases() -> list[dict[str, Any]]:
    numbers = (np.arange(18).reshape(1, 3, 2, 3) * 7 % 11 / 4 - 1.25).astype(np.float32)
    large = numbers.copy()
    large[0, 0, 0], large[0, 1, 1] = 88.0, -1000.0
    never = numbers.copy()
    never[0, 1] = -np.inf
    broken, endless = numbers.copy(), numbers.copy()
    broken[0, 2, 1, 1], endless[0, 0, 0, 0] = np.nan, np.inf
    nhwc = np.ascontiguousarray(numbers.transpose(0, 2, 3, 1))
    steps = (np.arange(18).reshape(1, 2, 3, 3) * 53 % 256).astype(np.uint8)
    planes, across = tensor((1, 3, 2, 3), "NCHW"), tensor((1, 2, 3, 3), "NHWC")
    ways = {
        "of planes": (numbers, planes),
        "of logits side by side": (nhwc, across),
        "of logits far apart": (large, planes),
        "of a class that is impossible": (never, planes),
        "of the same logits": (np.zeros((1, 3, 2, 3), np.float32), planes),
        "of int8": (steps.view(np.int8), tensor((1, 2, 3, 3), "NHWC", "int8", 0.0625, -7)),
        "of uint8": (steps, tensor((1, 2, 3, 3), "NHWC", "uint8", 0.03125, 128)),
        "of int8 planes": (
            np.ascontiguousarray(steps.transpose(0, 3, 1, 2)).view(np.int8),
            tensor((1, 3, 2, 3), "NCHW", "int8", 0.1, 12),
        ),
        "that the file has computed": (
            (np.abs(numbers) / 4).astype(np.float32), tensor((1, 3, 2, 3), "NCHW", name=PROBABILITIES),
        ),
        "that the file has computed in int8": (
            steps.view(np.int8), tensor((1, 2, 3, 3), "NHWC", "int8", 0.00390625, -128, PROBABILITIES),
        ),
        "of what is no number": (broken, planes),
        "of infinity": (endless, planes),
    }  # fmt: skip
    made = [
        case("probabilities", probabilities, f"probabilities {name}", array=array, tensor=of)
        for name, (array, of) in ways.items()
    ]
    for name in ("of int8", "of uint8", "of int8 planes"):
        array, of = ways[name]
        made.append(case("dequantize", _dequantize, f"dequantize {name}", array=array, tensor=of))
    return made


def _dequantize(array: np.ndarray, tensor: dict[str, Any]) -> dict[str, np.ndarray]:
    return {"planes": _real(array, tensor).astype(np.float32)}


def _real(array: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """(channels, height, width) float64."""
    values = array[0].astype(np.float64)
    if tensor["scale"] is not None:
        values = (values - tensor["zero_point"]) * tensor["scale"]
    return values if tensor["layout"] == "NCHW" else values.transpose(2, 0, 1)


def probabilities(array: np.ndarray, tensor: dict[str, Any]) -> dict[str, Any]:
    """Class probabilities of an output tensor."""
    planes = _real(array, tensor)
    if tensor["name"] != PROBABILITIES:
        if np.isnan(planes).any() or np.isposinf(planes).any():
            return refusal("finite")
        planes = exact.softmax(planes)
    return {"planes": planes.astype(np.float32)}


def _argmax_cases() -> list[dict[str, Any]]:
    ties = np.array([[[64, 64, 85, 0]], [[64, 128, 85, 0]], [[128, 64, 85, 0]]], np.uint8)
    return [
        case("argmax", _argmax, "argmax ties go to the lowest class", planes=shares(ties)),
        case("argmax", _argmax, "argmax of a mask", planes=shares(smooth_mask(4, 6))),
    ]


def _argmax(planes: np.ndarray) -> dict[str, np.ndarray]:
    return {"labels": planes.argmax(axis=0).astype(np.uint8)}


def unwarp_cases() -> list[dict[str, Any]]:
    """All cases of unwarp.json."""
    mask = smooth_mask(4, 12)
    twins = mask.copy()
    twins[2] = twins[1]
    # Of two classes that are everywhere as probable, and of the background and a class.
    even = mask.copy()
    even[1] = even[0]
    full = np.zeros((3, 8, 8), np.uint8)
    full[2] = 255
    squares = {
        "pixel by pixel": (mask, Square(4.0, 3.0, 12.0), (20, 24)),
        "enlarged to a whole square": (mask, Square(2.0, 1.0, 48.0), (52, 56)),
        "enlarged between pixels": (mask, Square(3.3, 2.6, 29.7), (36, 40)),
        "shrunk": (mask, Square(5.2, 4.1, 7.6), (16, 18)),
        "beyond the picture": (mask, Square(-9.0, 10.0, 30.0), (28, 24)),
        "outside of the picture": (mask, Square(50.0, 50.0, 12.0), (20, 20)),
        "ties go to the lowest class": (twins, Square(2.0, 1.0, 24.0), (28, 28)),
        "ties with the background stay background": (even, Square(2.0, 1.0, 24.0), (28, 28)),
        "a face that fills the region": (full, Square(3.0, 4.0, 16.0), (24, 24)),
    }
    made = [
        case(
            "unwarp", unwarp, f"unwarp {name}",
            probabilities=shares(planes), matrix=crop_matrix(square, planes.shape[1]).tolist(),
            shape=list(shape), labels=None,
        )
        for name, (planes, square, shape) in squares.items()
    ]  # fmt: skip
    before = np.zeros((28, 28), np.uint8)
    before[6:20, :16] = 9
    second = crop_matrix(Square(2.0, 1.0, 24.0), 12).tolist()
    made.append(
        case(
            "unwarp", unwarp, "unwarp over another face",
            probabilities=shares(mask), matrix=second, shape=[28, 28], labels=before,
        )
    )  # fmt: skip
    return made


def unwarp(
    probabilities: np.ndarray, matrix: list[list[float]], shape: list[int], labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Label of every pixel of the picture; those of `labels` stay where there is background or no crop."""
    found, first, second = interpolated_labels(probabilities, matrix, shape)
    assert ((first - second > CLEAR) | (first - second < 1e-12)).all()
    return {"labels": found if labels is None else np.where(found == 0, labels, found)}


def interpolated_labels(
    probabilities: np.ndarray, matrix: list[list[float]], shape: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (height, width) uint8, and the two highest probabilities of each pixel."""
    x, y = exact.places(np.array(matrix), *shape)
    planes = np.stack([exact.interpolated(plane, x, y) for plane in probabilities])
    # Sums of the same shares in the same order are the same, ties are exact.
    ordered = np.sort(planes, axis=0)
    return planes.argmax(axis=0).astype(np.uint8), ordered[-1], ordered[-2]
