"""Fields of settings dataclasses with their allowed ranges, so that a value from a TOML table is checked."""

from __future__ import annotations

import math
from dataclasses import field, fields
from typing import Any

from toolchain.errors import UsageError


def number(default: float, low: float, high: float) -> Any:
    """A dataclass field that holds one number in low..high, both ends included."""
    return field(default=default, metadata={"limits": (low, high), "kind": "number"})


def share(default: float) -> Any:
    """A dataclass field that holds a share or probability in 0-1."""
    return number(default, 0.0, 1.0)


def span(default: tuple[float, float], low: float, high: float) -> Any:
    """A dataclass field that holds a smallest and a largest value within low..high."""
    return field(default=default, metadata={"limits": (low, high), "kind": "span"})


def numbers(low: float, high: float) -> Any:
    """A dataclass field that holds any count of numbers in low..high; none by default."""
    return field(default=(), metadata={"limits": (low, high), "kind": "numbers"})


def choice(default: str, names: tuple[str, ...]) -> Any:
    """A dataclass field that holds one of a few names."""
    return field(default=default, metadata={"names": names, "kind": "choice"})


def check(settings: Any, table: str) -> None:
    """Check every field made by the functions above; numbers become floats, lists become tuples.

    Args:
        settings: the (frozen) dataclass, from its `__post_init__`.
        table: its TOML table, for messages.

    Raises:
        UsageError: a value is out of range or of the wrong type; the message names table and key.
    """
    for item in fields(settings):
        if "kind" not in item.metadata:
            continue
        key, value = f"{table}.{item.name}", getattr(settings, item.name)
        if item.metadata["kind"] == "choice":
            names = item.metadata["names"]
            if value not in names:
                raise UsageError(f"{key} is {value!r}", f"it is one of {', '.join(names)}")
            continue
        low, high = item.metadata["limits"]
        checked: Any
        if item.metadata["kind"] == "number":
            checked = _number(key, value, low, high)
        else:
            checked = _numbers(key, value, low, high)
        if item.metadata["kind"] == "span" and (len(checked) != 2 or checked[0] > checked[1]):
            raise UsageError(f"{key} is {value!r}", "give two numbers, the smaller one first")
        object.__setattr__(settings, item.name, checked)


def _number(key: str, value: Any, low: float, high: float) -> float:
    hint = f"give a number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{key} is {value!r}, not a number", hint)
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{key} is {value!r}, out of range", hint)
    return float(value)


def _numbers(key: str, value: Any, low: float, high: float) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(
            f"{key} is {value!r}, not a list", f"give a list of numbers from {low:g} to {high:g}"
        )
    return tuple(_number(key, entry, low, high) for entry in value)
