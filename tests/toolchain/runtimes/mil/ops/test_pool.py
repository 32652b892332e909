"""Pooling against windows written out in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from toolchain.errors import UnsupportedError
from toolchain.runtimes.mil.operators import operators


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _windows(x: np.ndarray, kernel: list[int], strides: list[int], pads: list, value: float) -> np.ndarray:
    """Elements of each window on the last axis."""
    axes = tuple(range(2, x.ndim))
    full = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(full, kernel, axes)
    windows = windows[(slice(None), slice(None), *(slice(None, None, stride) for stride in strides))]
    return windows.reshape(*windows.shape[: x.ndim], -1)


# (x, kernel, strides, pad type, pad) -> padding that these stand for.
CASES = {
    "valid": ((2, 3, 7, 6), [3, 2], [2, 1], "valid", None, [(0, 0), (0, 0)]),
    "custom": ((1, 2, 7, 6), [3, 3], [2, 2], "custom", [1, 1, 1, 1], [(1, 1), (1, 1)]),
    "asymmetric": ((1, 2, 7, 6), [3, 3], [2, 1], "custom", [0, 1, 2, 1], [(0, 1), (2, 1)]),
    "more than half": ((1, 2, 7, 6), [3, 3], [1, 1], "custom", [2, 2, 2, 2], [(2, 2), (2, 2)]),
    "same": ((1, 2, 8, 7), [3, 3], [2, 2], "same", None, [(0, 1), (1, 1)]),
    "same_lower": ((1, 2, 8, 7), [3, 2], [2, 1], "same_lower", None, [(1, 0), (1, 0)]),
    "one axis": ((2, 3, 9), [4], [2], "custom", [1, 2], [(1, 2)]),
    "three axes": (
        (1, 2, 4, 5, 4),
        [2, 3, 2],
        [2, 1, 2],
        "custom",
        [1, 1, 1, 1, 0, 0],
        [(1, 1), (1, 1), (0, 0)],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_windows(case: tuple, run_program: Callable) -> None:
    shape, kernel, strides, pad_type, pad, pads = case
    x = _random(*shape)
    given = {"kernel_sizes": kernel, "strides": strides, "pad_type": pad_type}
    given |= {} if pad is None else {"pad": pad}

    def build(mb, x):
        made = [
            mb.max_pool(x=x, **given),
            mb.avg_pool(x=x, **given),
            mb.avg_pool(x=x, exclude_padding_from_average=True, **given),
        ]
        return made if x.rank == 5 else [*made, mb.l2_pool(x=x, **given)]

    got = list(run_program(build, {"x": x}, ios=17 if pad_type == "same_lower" else 15).values())
    zeros = _windows(x, kernel, strides, pads, 0)
    inside = _windows(np.ones_like(x), kernel, strides, pads, 0).sum(-1)
    want = [_windows(x, kernel, strides, pads, -np.inf).max(-1), zeros.mean(-1), zeros.sum(-1) / inside]
    want += [np.sqrt(np.square(zeros).sum(-1))] if len(got) > len(want) else []
    for computed, expected in zip(got, want, strict=True):
        np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shape", "pad"), [((1, 2, 8, 7), [1, 1, 0, 0]), ((1, 2, 10), [1, 1])])
def test_ceil_mode(shape: tuple[int, ...], pad: list[int], run_program: Callable) -> None:
    """The last window may reach over the end, where there is nothing: neither padding nor elements."""
    x = _random(*shape)
    axes = len(shape) - 2
    given = {"kernel_sizes": [3] * axes, "strides": [2] * axes, "pad_type": "custom", "pad": pad}

    def build(mb, x):
        return [mb.max_pool(x=x, ceil_mode=True, **given), mb.avg_pool(x=x, ceil_mode=True, **given)]

    largest, average = run_program(build, {"x": x}).values()
    pads = [(pad[2 * axis], pad[2 * axis + 1]) for axis in range(axes)]
    beyond = [(0, 0)] * 2 + [
        (0, (3 - size - sum(pair)) % 2) for size, pair in zip(shape[2:], pads, strict=True)
    ]
    exists = np.pad(np.ones_like(np.pad(x, [(0, 0)] * 2 + pads)), beyond)
    low = np.pad(np.pad(x, [(0, 0)] * 2 + pads, constant_values=-np.inf), beyond, constant_values=-np.inf)
    zero = np.pad(np.pad(x, [(0, 0)] * 2 + pads), beyond)
    none = [(0, 0)] * axes
    np.testing.assert_array_equal(largest, _windows(low, [3] * axes, [2] * axes, none, 0).max(-1))
    total, count = (_windows(array, [3] * axes, [2] * axes, none, 0).sum(-1) for array in (zero, exists))
    np.testing.assert_allclose(average, total / count, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "parameters", "message"),
    [
        ("max_pool", {"pad_type": "custom", "pad": [3, 0]}, "as large as the window"),
        (
            "avg_pool",
            {"pad_type": "custom", "pad": [0, 4], "exclude_padding_from_average": True},
            "as large as the window",
        ),
        ("max_pool", {"pad_type": "same", "ceil_mode": True}, "ceil_mode"),
        ("avg_pool", {"pad_type": "custom", "pad": [1, 0], "ceil_mode": True}, "ceil_mode"),
        ("l2_pool", {"ceil_mode": True}, "ceil_mode"),
        ("max_pool", {"pad_type": "full"}, "'full'"),
    ],
)
def test_refusals(op: str, parameters: dict, message: str) -> None:
    given = {name: torch.tensor(value) if name == "pad" else value for name, value in parameters.items()}
    with pytest.raises(UnsupportedError, match=message):
        operators().get(op)(x=torch.ones(1, 1, 8), kernel_sizes=torch.tensor([3]), **given)
