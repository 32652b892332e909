"""Inverse trigonometric and hyperbolic functions, to the precision of float32 over their whole domain."""

from __future__ import annotations

import numpy as np
import pytest

SMALL = np.geomspace(1e-30, 1, 300)
WIDE = np.geomspace(1e-30, 1e30, 300)
UNIT = np.concatenate([SMALL, 1 - SMALL])
INSIDE = UNIT[UNIT < 1 - 1e-7]
FUNCTIONS = {
    "Acos": (np.arccos, np.concatenate([-UNIT, UNIT])),
    "Asin": (np.arcsin, np.concatenate([-UNIT, UNIT])),
    "Atan": (np.arctan, np.concatenate([-WIDE, [0, np.inf, -np.inf], WIDE])),
    "Acosh": (np.arccosh, np.concatenate([1 + SMALL, WIDE[WIDE > 1]])),
    "Asinh": (np.arcsinh, np.concatenate([-WIDE, [0], WIDE])),
    # The kernels without XNNPACK have no infinity, which is the value at 1.
    "Atanh": (np.arctanh, np.concatenate([-INSIDE, [0], INSIDE])),
    "Cosh": (np.cosh, np.linspace(-89, 89, 400)),
    "Sinh": (np.sinh, np.concatenate([-SMALL, SMALL, np.linspace(-89, 89, 400)])),
}


@pytest.mark.parametrize("op_type", FUNCTIONS)
def test_relative_error(run_both, make_node_model, op_type):
    function, values = FUNCTIONS[op_type]
    x = values.astype(np.float32)
    _, found, _ = run_both(make_node_model(op_type, {"x": x}), {"x": x})
    exact = function(x.astype(np.float64))
    np.testing.assert_allclose(found["y"], exact, rtol=6e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("op_type", "values"),
    [
        ("Acos", [-1.5, 1.5, np.nan]),
        ("Asin", [-1.5, 1.5, np.nan]),
        ("Acosh", [0.5, -0.5, -3, -1e8, np.nan]),
        ("Atanh", [-1.5, 1.5, 1e9, np.nan]),
        ("Atan", [np.nan]),
        ("Asinh", [np.nan]),
    ],
)
def test_no_number_outside_of_the_domain(run_both, make_node_model, op_type, values):
    x = np.array(values, np.float32)
    _, found, _ = run_both(make_node_model(op_type, {"x": x}), {"x": x})
    assert np.isnan(found["y"]).all()


@pytest.mark.parametrize("op_type", FUNCTIONS)
def test_pictures(check, make_node_model, rng, op_type):
    feeds = {"x": rng.uniform(0.1, 0.9, (1, 2, 3, 4)).astype(np.float32)}
    feeds["x"] += op_type == "Acosh"
    check(make_node_model(op_type, feeds), feeds)
