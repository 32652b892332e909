"""Reductions against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(5)
X = np.abs(RNG.standard_normal((2, 3, 4, 5))).astype(np.float32) + 0.1
FUNCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "l1": lambda x, **k: np.abs(x).sum(**k),
    "l2": lambda x, **k: np.sqrt((x**2).sum(**k)),
    "sumsquare": lambda x, **k: (x**2).sum(**k),
    "logsum": lambda x, **k: np.log(x.sum(**k)),
    "logsumexp": lambda x, **k: np.log(np.exp(x).sum(**k)),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [(1,), (-1, -2), (0, 2, 3)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_reduction(check_layers, name, axes, keep):
    want = FUNCTIONS[name](X, axis=axes, keepdims=keep)
    build = {"axes": list(axes), "keepdims": keep}
    check_layers(lambda b: getattr(b, f"add_reduce_{name}")("r", "x", "y", **build), [X], want, 1e-4)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_reduction_of_everything_has_one_axis(check_layers, name):
    want = np.reshape(FUNCTIONS[name](X[0], axis=(0, 1, 2)), (1,))
    build = {"keepdims": False, "reduce_all": True}
    check_layers(lambda b: getattr(b, f"add_reduce_{name}")("r", "x", "y", **build), [X[0]], want, 1e-4)


@pytest.mark.parametrize(
    ("name", "axes"),
    [("CHW", (-3, -2, -1)), ("HW", (-2, -1)), ("C", (-3,)), ("H", (-2,)), ("W", (-1,))],
)
@pytest.mark.parametrize("mode", ["sum", "avg", "prod", "sumsquare", "L1", "L2", "max", "min", "logsum"])
def test_reduction_of_pictures(check_layers, name, axes, mode):
    function = FUNCTIONS.get({"avg": "mean"}.get(mode, mode.lower()))
    want = function(X, axis=axes, keepdims=True)
    if mode == "logsum":
        want = np.log(X + 1e-6).sum(axes, keepdims=True)
    check_layers(lambda b: b.add_reduce("r", "x", "y", name, mode), [X], want, 1e-4)


@pytest.mark.parametrize(("name", "axis"), [("C", -3), ("H", -2), ("W", -1)])
def test_argmax_of_pictures(check_layers, name, axis):
    want = X.argmax(axis, keepdims=True)
    check_layers(lambda b: b.add_reduce("r", "x", "y", name, "argmax"), [X], want)


def test_argmax_of_several_axes_is_refused(run_layers):
    with pytest.raises(UnsupportedError, match="reduce 'r': ARGMAX takes one axis"):
        run_layers(lambda b: b.add_reduce("r", "x", "y", "HW", "argmax"), [X])


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_place_of_the_extreme(check_layers, name, axis, keep):
    x = np.round(X * 2)
    want = getattr(np, name)(x, axis, keepdims=keep)
    check_layers(lambda b: getattr(b, f"add_{name}")("r", "x", "y", axis, keep), [x], want)


def test_place_in_a_vector_has_one_axis(check_layers):
    x = np.array([1.0, 3.0, 2.0], np.float32)
    check_layers(lambda b: b.add_argmax("r", "x", "y", 0, False), [x], [np.array([1])])
