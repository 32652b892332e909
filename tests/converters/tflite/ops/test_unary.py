"""Mathematical functions of one operand."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest

FLOATS = np.array([-2.5, -1.5, -0.5, -0.0, 0.0, 0.25, 0.5, 1.5, 2.5, 3.4999, 7.0, 1e6], np.float32)
POSITIVE = np.array([1e-6, 0.1, 0.5, 1.0, 2.0, 10.0, 1e4], np.float32)
ANGLES = np.linspace(-7, 7, 60, dtype=np.float32)
ROWS = {
    "Sqrt": POSITIVE,
    "Log": POSITIVE,
    "Reciprocal": POSITIVE,
    "Exp": np.linspace(-20, 10, 40, dtype=np.float32),
    "Sin": ANGLES,
    "Cos": ANGLES,
    "Tan": np.linspace(-1.5, 1.5, 40, dtype=np.float32),
    "Floor": FLOATS,
    "Ceil": FLOATS,
    "Round": FLOATS,
    "Neg": FLOATS,
    "Abs": FLOATS,
    "Sign": FLOATS,
}


@pytest.mark.parametrize("op_type", ROWS)
def test_floats(check, make_node_model, op_type):
    feeds = {"x": ROWS[op_type]}
    check(make_node_model(op_type, feeds), feeds, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (5,), (1, 2, 3, 4), (1, 2, 1, 2, 3), (1, 2, 1, 2, 1, 2, 3)])
@pytest.mark.parametrize("op_type", ["Neg", "Exp"])
def test_ranks(check, make_node_model, rng, op_type, shape):
    feeds = {"x": np.asarray(rng.uniform(-1, 1, shape), np.float32)}
    check(make_node_model(op_type, feeds), feeds)


@pytest.mark.parametrize(
    ("op_type", "dtype"),
    [(op_type, dtype) for op_type in ("Neg", "Abs", "Sign") for dtype in ("int8", "int16", "int32", "int64")]
    + [(op_type, dtype) for op_type in ("Abs", "Sign") for dtype in ("uint8", "uint32")],
)
def test_integers(check, make_node_model, op_type, dtype):
    limits = np.iinfo(dtype)
    values = [0, 1, 5, limits.max] + ([-1, -100, limits.min + 1] if limits.min else [])
    feeds = {"x": np.array(values, dtype)}
    check(make_node_model(op_type, feeds), feeds, rtol=0, atol=0)


def test_erf_is_as_precise_as_its_docstring_says(run_both, make_node_model):
    x = np.concatenate([np.linspace(-6, 6, 20001), np.geomspace(1e-20, 1, 2000)]).astype(np.float32)
    _, found, _ = run_both(make_node_model("Erf", {"x": x}), {"x": x})
    exact = np.array([erf(float(value)) for value in x])
    error = np.abs(found["y"] - exact)
    assert error.max() < 4e-7
    assert (error / np.maximum(np.abs(exact), 1e-30))[exact != 0].max() < 4e-7


def test_erf_of_infinity(check, make_node_model):
    feeds = {"x": np.array([-np.inf, np.inf, 0], np.float32)}
    check(make_node_model("Erf", feeds), feeds, rtol=0, atol=4e-7)
