"""Inverse trigonometric and hyperbolic functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TINY = [1e-30, 1e-6, 1e-3]
LINE = [-3e38, -1e20, -1e4, -88, -17, -2, -1, -0.5, 0, 0.1, 0.5, 1, 1.001, 2, 17, 88, 1e4, 1e20, 3e38]
UNIT = [-1, -0.999, -0.5, 0, 0.3, 0.7, 0.999, 1]
ABOVE_ONE = [1, 1 + 2e-7, 1.001, 1.5, 1.999, 2, 2.001, 30, 1e4, 1e20, 3e38, np.inf]
ROWS = [
    ("Atan", [*LINE, *TINY]),
    ("Asin", [*UNIT, *TINY]),
    ("Acos", [*UNIT, *TINY]),
    ("Sinh", [-88, -2, -1, -0.3, 0, 0.5, 1, 3, 88, *TINY]),
    ("Cosh", [-88, -2, -1, 0, 1e-3, 0.5, 1, 3, 88]),
    ("Asinh", [*LINE, *TINY, np.inf, -np.inf]),
    ("Acosh", ABOVE_ONE),
    ("Atanh", [-0.999, -0.5, 0, 0.3, 0.999, *TINY]),
]


@pytest.mark.parametrize(("op_type", "values"), ROWS)
def test_values(op_type, values, check, make_node_model):
    feeds = {"x": np.array(values, np.float32)}
    check(make_node_model(op_type, feeds), feeds, rtol=2e-6, atol=1e-7 if op_type == "Acos" else 0)


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 1, 3, 2, 2)])
@pytest.mark.parametrize("op_type", ["Asinh", "Acosh"])
def test_shapes(op_type, shape, check, make_node_model, rng):
    feeds = {"x": rng.uniform(1, 5, shape).astype(np.float32)}
    check(make_node_model(op_type, feeds), feeds)


@pytest.mark.parametrize("op_type", ["Asin", "Acos", "Acosh", "Atanh"])
def test_outside_of_the_domain_is_nan(op_type, run_both, make_node_model):
    values = [0.5, -0.5, 0, -1, -2, -9] if op_type == "Acosh" else [1.5, -1.5, 3]
    feeds = {"x": np.array(values, np.float32)}
    expected, actual, _ = run_both(make_node_model(op_type, feeds), feeds)
    assert np.isnan(expected["y"]).all()
    assert np.isnan(actual["y"]).all()


@pytest.mark.parametrize(("op_type", "low"), [("Asinh", -3e4), ("Acosh", 1.0)])
def test_nothing_overflows_in_float16(op_type, low, run_both, make_node_model):
    feeds = {"x": np.linspace(low, 3e4, 999, dtype=np.float32)}
    expected, actual, _ = run_both(make_node_model(op_type, feeds), feeds, precision="fp16")
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=5e-3, atol=5e-3)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20))
def test_random_asinh(values, check, make_node_model):
    feeds = {"x": np.array(values, np.float32)}
    check(make_node_model("Asinh", feeds), feeds, rtol=2e-6, atol=1e-37, kinds=["mlprogram"])
