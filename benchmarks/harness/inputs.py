"""Inputs to measure with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.errors import UsageError
from toolchain.spec import TensorSpec, shape_text

Shapes = Mapping[str, tuple[int, ...]] | tuple[int, ...] | None
UNKNOWN = -1


def random_input(shape: tuple[int, ...], dtype: Any, seed: int, occurrence: int = 0) -> np.ndarray:
    """An input that depends on shape, seed and occurrence alone, so that two files can be given the same.

    Floating-point values are uniform in [-1, 1), 8-bit and boolean ones uniform over their range, and wider
    integers zero, since they are usually positions.
    """
    rng = np.random.default_rng([seed, occurrence, *shape])
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.uniform(-1, 1, shape).astype(kind)
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(kind)
    if kind.itemsize == 1:
        limits = np.iinfo(kind)
        return rng.integers(limits.min, limits.max + 1, shape).astype(kind)
    return np.zeros(shape, kind)


def random_inputs(
    specs: Sequence[TensorSpec], seed: int, label: str, shapes: Shapes = None
) -> dict[str, np.ndarray]:
    """One random array per input; equal shapes of one network get different values.

    Args:
        specs: the inputs; a size of -1 must be given by `shapes`.
        seed: of the values.
        label: of the network, for messages.
        shapes: shape of the only input, or by input name; None takes those of `specs`.

    Raises:
        UsageError: a size is not known, or `shapes` does not fit.
    """
    given = _by_name(specs, shapes, label)
    seen: Counter[tuple[int, ...]] = Counter()
    made = {}
    for spec in specs:
        shape = given.get(spec.name, spec.shape)
        if UNKNOWN in shape:
            raise UsageError(
                f"input '{spec.name}' of {label} has the shape {_text(spec.shape)}, whose unknown sizes must"
                " be given",
                f"--input-shape {spec.name}={','.join(str(max(size, 1)) for size in spec.shape)}",
            )
        if len(shape) != len(spec.shape) or any(
            size not in (UNKNOWN, wanted) for size, wanted in zip(spec.shape, shape, strict=True)
        ):
            raise UsageError(
                f"input '{spec.name}' of {label} has the shape {_text(spec.shape)}, not {_text(shape)}",
                "leave --input-shape out, or give a shape that fits",
            )
        made[spec.name] = random_input(tuple(shape), spec.dtype, seed, seen[tuple(shape)])
        seen[tuple(shape)] += 1
    return made


def _by_name(specs: Sequence[TensorSpec], shapes: Shapes, label: str) -> Mapping[str, tuple[int, ...]]:
    if shapes is None:
        return {}
    names = [spec.name for spec in specs]
    if isinstance(shapes, tuple):
        if len(names) != 1:
            raise UsageError(
                f"{label} has the inputs {', '.join(names)}, so that a shape needs a name",
                f"--input-shape {names[0] if names else 'NAME'}=1,3,224,224",
            )
        return {names[0]: shapes}
    if unknown := [name for name in shapes if name not in names]:
        raise UsageError(f"{label} has no input '{unknown[0]}'", f"its inputs are {', '.join(names)}")
    return shapes


def _text(shape: Sequence[int]) -> str:
    return shape_text(None if size == UNKNOWN else size for size in shape) or "scalar"
