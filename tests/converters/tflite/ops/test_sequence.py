"""Sequences of different lengths in one batch."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.helper import make_node


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
@pytest.mark.parametrize(
    ("shape", "time", "batch"), [((5, 3), 0, 1), ((3, 5), 1, 0), ((3, 5, 2), 1, 0), ((5, 3, 2, 4), 0, 1)]
)
def test_reverse(check, make_node_model, rng, dtype, shape, time, batch):
    feeds = {
        "x": rng.integers(0, 100, shape).astype(dtype),
        "lengths": rng.integers(1, shape[time], shape[batch], endpoint=True),
    }
    check(make_node_model("ReverseSequence", feeds, time_axis=time, batch_axis=batch), feeds, rtol=0, atol=0)


def test_pictures_keep_their_order(check, make_model, rng):
    """Behind a convolution the axes are stored in another order."""
    feeds = {"x": rng.standard_normal((2, 3, 6, 4)).astype(np.float32), "n": np.array([2, 4])}
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("ReverseSequence", ["c", "n"], ["y"], time_axis=1, batch_axis=0),
    ]
    check(
        make_model(nodes, feeds, constants={"w": rng.standard_normal((5, 3, 1, 1)).astype(np.float32)}), feeds
    )


def test_other_types_are_refused(refusals, make_node_model):
    feeds = {"x": np.ones((2, 3), np.int8), "n": np.array([1, 2])}
    model = make_node_model("ReverseSequence", feeds, time_axis=1, batch_axis=0)
    assert "int8" in refusals(model)[0]
