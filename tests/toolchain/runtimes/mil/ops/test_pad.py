"""Padding against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

X = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("pad", "mode", "value"),
    [
        ([1, 2], "constant", None),
        ([0, 1, 2, 0, 0, 0, 3, 4], "constant", -1.5),
        ([1, 0, 3, 2, 4, 4], "reflect", None),
        ([2, 1, 0, 4, 5, 3], "replicate", None),
        ([1, 1, 2, 2, 3, 3, 4, 4], "reflect", None),
    ],
)
def test_pad(run_program: Callable, pad: list[int], mode: str, value: float | None) -> None:
    pairs = [(0, 0)] * (4 - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))
    numpys = {"constant": {"constant_values": value or 0.0}, "reflect": {}, "replicate": {}}
    expected = np.pad(X, pairs, {"replicate": "edge"}.get(mode, mode), **numpys[mode])
    extra = {} if value is None else {"constant_val": value}
    (got,) = run_program(lambda mb, x: mb.pad(x=x, pad=pad, mode=mode, **extra), {"x": X}).values()
    np.testing.assert_array_equal(got, expected)


def test_amounts_may_come_at_run_time(run_program: Callable) -> None:
    amounts = np.array([0, 0, 1, 0, 0, 2, 3, 3], np.int32)
    (got,) = run_program(lambda mb, x, pad: mb.pad(x=x, pad=pad), {"x": X, "pad": amounts}).values()
    np.testing.assert_array_equal(got, np.pad(X, amounts.reshape(4, 2)))


def test_more_than_there_is_cannot_be_mirrored(run_program: Callable) -> None:
    with pytest.raises(UnsupportedError, match="5 elements cannot be mirrored"):
        run_program(lambda mb, x: mb.pad(x=x, pad=[0, 5], mode="reflect"), {"x": X})
