"""Changes of shape in a row become one Reshape, or none."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.graph.merge_reshapes import merge_reshapes
from toolchain.converters.graph.remove_dead import remove_dead
from toolchain.converters.graph.remove_noops import remove_noops


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("a = Reshape(x, wide) b = Reshape(a, tall) y = Abs(b)", {"Reshape": 1, "Abs": 1}),
        ("a = Flatten(x) b = Reshape(a, tall) y = Abs(b)", {"Reshape": 1, "Abs": 1}),
        ("a = Squeeze(x, zero) b = Unsqueeze(a, zero) y = Abs(b)", {"Abs": 1}),
        ("a = Reshape(x, tall) b = Flatten<axis=0>(a) y = Abs(b)", {"Reshape": 1, "Abs": 1}),
        ("a = Reshape(x, rest) b = Reshape(a, keep) y = Abs(b)", {"Reshape": 1, "Abs": 1}),
        ("a = Reshape(x, tall) b = Reshape(a, wide) c = Flatten(b) y = Abs(c)", {"Reshape": 1, "Abs": 1}),
        ("a = Reshape(x, tall) y = Reshape(a, same)", {"Identity": 1}),
        ("a = Reshape(x, tall) b = Abs(a) y = Reshape(b, same)", {"Reshape": 2, "Abs": 1}),
    ],
)
def test_chains(graphs, body, wanted):
    constants = {
        "wide": np.array([2, 12]),
        "tall": np.array([12, 2]),
        "rest": np.array([4, -1, 3]),
        "keep": np.array([0, 6]),
        "same": np.array([1, 2, 3, 4]),
        "zero": np.array([0]),
    }
    rank = {"y = Reshape": "[1,2,3,4]"}.get("y = " + body.rpartition("y = ")[2].partition("(")[0])
    text = f"(float[1,2,3,4] x) => (float{rank or 'SHAPE'} y) {{ {body} }}"
    if rank is None:
        last = body.rpartition("y = Abs(")[2][0]
        sizes = {"b": "[12,2]", "c": "[2,12]"}[last]
        for key, shape in (("Unsqueeze", "[1,2,3,4]"), ("axis=0", "[1,24]"), ("keep", "[4,6]")):
            sizes = shape if key in body else sizes
        text = text.replace("SHAPE", sizes)
    before = graphs.build(text, **{name: array for name, array in constants.items() if name in body})
    graphs.judge([merge_reshapes, remove_noops, remove_dead], before, wanted)


def test_other_readers_keep_the_first(graphs):
    text = """(float[2,6] x) => (float[6,2] y, float[3,4] z) {
        a = Reshape(x, s)
        b = Reshape(a, t)
        y = Abs(b)
        z = Neg(a)
    }"""
    before = graphs.build(text, s=np.array([3, 4]), t=np.array([6, 2]))
    graphs.judge([merge_reshapes, remove_dead], before, {"Reshape": 2, "Abs": 1, "Neg": 1})
