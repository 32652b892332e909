"""Comparisons, logic and choice."""

from __future__ import annotations

import numpy as np
import pytest

COMPARISONS = ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]
TYPES = ["float32", "int32", "int64", "int8", "uint8", "int16", "uint16", "uint32"]
SHAPES = [((2, 3, 4, 5), (2, 3, 4, 5)), ((2, 3, 4, 5), (3, 1, 1)), ((2, 1, 3, 1, 2), (2, 2, 1, 4, 1))]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("op_type", COMPARISONS)
def test_types(check, make_node_model, rng, op_type, dtype):
    feeds = {name: rng.integers(0, 4, (5, 6)).astype(dtype) for name in "ab"}
    check(make_node_model(op_type, feeds), feeds)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("op_type", ["Equal", "Less"])
def test_shapes(check, make_node_model, rng, op_type, shapes):
    feeds = {n: rng.integers(0, 3, shape).astype(np.float32) for n, shape in zip("ab", shapes, strict=True)}
    check(make_node_model(op_type, feeds), feeds)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("op_type", ["And", "Or", "Xor", "Equal"])
def test_logic(check, make_node_model, rng, op_type, shapes):
    feeds = {n: rng.integers(0, 2, shape).astype(bool) for n, shape in zip("ab", shapes, strict=True)}
    check(make_node_model(op_type, feeds), feeds)


def test_not(check, make_node_model, rng):
    feeds = {"x": rng.integers(0, 2, (2, 3, 4, 5)).astype(bool)}
    check(make_node_model("Not", feeds), feeds)


@pytest.mark.parametrize("dtype", [*TYPES, "bool"])
@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3, 4), (2, 3, 4), (2, 3, 4)),
        ((2, 1, 4, 1), (1, 3, 1, 5), (2, 3, 4, 5)),
        ((4, 1), (), (3, 1, 5)),
        ((1,), (2, 1, 3, 1, 2), (2, 2, 1, 4, 1)),
    ],
)
def test_where(check, make_node_model, rng, dtype, shapes):
    feeds = {"condition": rng.integers(0, 2, shapes[0]).astype(bool)}
    feeds |= {
        n: np.asarray(rng.integers(0, 9, s)).astype(dtype) for n, s in zip("ab", shapes[1:], strict=True)
    }
    check(make_node_model("Where", feeds), feeds, rtol=0, atol=0)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, 1, -3e38], np.float32)


def test_is_nan(check, make_node_model):
    check(make_node_model("IsNaN", {"x": SPECIAL}), {"x": SPECIAL})


@pytest.mark.parametrize("signs", [(1, 1), (1, 0), (0, 1)])
def test_is_inf(check, make_node_model, signs):
    model = make_node_model("IsInf", {"x": SPECIAL}, detect_positive=signs[0], detect_negative=signs[1])
    check(model, {"x": SPECIAL})


def test_is_inf_of_neither_sign_is_refused(refusals, make_node_model):
    model = make_node_model("IsInf", {"x": SPECIAL}, detect_positive=0, detect_negative=0)
    assert "detect_negative=0" in refusals(model)[0]


def test_uint64_is_refused(refusals, make_node_model):
    feeds = {name: np.ones(3, np.uint64) for name in "ab"}
    assert "Less of uint64" in refusals(make_node_model("Less", feeds))[0]
