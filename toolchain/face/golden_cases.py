"""One golden case: what goes in, what must come out, and both as JSON that every language reads alike.

Floats have nine significant digits, and what goes in is rounded to them before anything is computed from it:
whoever reads the file starts from the same numbers. An array is an object with its shape, its numpy dtype,
and "values" in C order, or "base64" of its bytes in little-endian C order where it is large and of bytes.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from toolchain.face.region import Box, Square

DIGITS = 9
# Arrays of bytes beyond so many are in base64.
PLAIN = 64
BYTES = ("uint8", "int8")


def case(function: str, compute: Callable[..., Any], name: str, **inputs: Any) -> dict[str, Any]:
    """A case whose answer is computed from its inputs as the file holds them.

    Args:
        function: what the case is about, for its readers.
        compute: called with the inputs by name, as `decoded` gives them.
        name: unique within the file.
        inputs: anything that `encoded` takes.
    """
    given = encoded(inputs)
    return {
        "name": name,
        "function": function,
        "input": given,
        "expected": encoded(compute(**decoded(given))),
    }


def encoded(value: Any) -> Any:
    """Numbers, arrays, boxes and what is made of them, as JSON can express them."""
    if isinstance(value, np.ndarray):
        return _encoded_array(value)
    if is_dataclass(value) and not isinstance(value, type):
        return encoded(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(item) for item in value]
    if isinstance(value, float | np.floating):
        return _rounded(float(value))
    return value.item() if isinstance(value, np.generic) else value


def decoded(value: Any) -> Any:
    """Inverse of `encoded`; objects with the fields of a box or a square become one."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    keys = set(value)
    if {"shape", "dtype"} <= keys and keys & {"values", "base64"}:
        return _decoded_array(value)
    if keys == {"x", "y", "width", "height"}:
        return Box(**value)
    if keys == {"x", "y", "side"}:
        return Square(**value)
    return {key: decoded(item) for key, item in value.items()}


def refusal(*words: str) -> dict[str, Any]:
    """The answer to what must be refused, with a message that has these words."""
    return {"refusal": {"mentions": list(words)}}


def shares(stored: np.ndarray) -> dict[str, Any]:
    """Bytes (uint8) that stand for probabilities in steps of 1 / 256, which floats hold exactly."""
    return {**_encoded_array(stored), "divisor": 256}


def alike(one: Any, other: Any, relative: float = 2e-9) -> bool:
    """Whether two decoded JSON values are the same but for the last digit of their floats."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key], relative) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other, [relative] * len(one)))
    if isinstance(one, float) or isinstance(other, float):
        numbers = all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other)
        )
        return numbers and math.isclose(one, other, rel_tol=relative, abs_tol=1e-12)
    return type(one) is type(other) and one == other


def _rounded(value: float) -> float | str:
    if not math.isfinite(value):
        return str(value)
    # Adding 0.0 makes a negative zero positive.
    return float(f"{value:.{DIGITS}g}") + 0.0


def _encoded_array(array: np.ndarray) -> dict[str, Any]:
    head = {"shape": list(array.shape), "dtype": array.dtype.name}
    if array.dtype.name in BYTES and array.size > PLAIN:
        return {**head, "base64": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()}
    return {**head, "values": encoded(array.ravel().tolist())}


def _decoded_array(value: dict[str, Any]) -> np.ndarray:
    if "base64" in value:
        flat = np.frombuffer(base64.b64decode(value["base64"]), value["dtype"])
    else:
        flat = np.array([float(item) for item in value["values"]]).astype(value["dtype"])
    array = flat.reshape(value["shape"])
    return (array / value["divisor"]).astype(np.float32) if "divisor" in value else array
