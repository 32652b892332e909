"""Sequences of different lengths in one batch."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("dtype", "shape", "time", "batch"),
    [
        ("float32", (5, 3), 0, 1),
        ("int64", (3, 5), 1, 0),
        ("bool", (3, 5, 2), 1, 0),
        ("float32", (5, 3, 2, 4), 0, 1),
    ],
)
def test_reverse(check, make_node_model, rng, dtype, shape, time, batch):
    feeds = {
        "x": rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype),
        "lengths": rng.integers(1, shape[time], shape[batch], endpoint=True),
    }
    check(make_node_model("ReverseSequence", feeds, time_axis=time, batch_axis=batch), feeds, rtol=0, atol=0)


def test_axes_by_default(check, make_node_model, rng):
    feeds = {"x": rng.standard_normal((4, 2)).astype(np.float32), "lengths": np.array([2, 4])}
    check(make_node_model("ReverseSequence", feeds), feeds, rtol=0, atol=0)
