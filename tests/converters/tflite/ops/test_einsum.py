"""Einsum of one and two operands."""

from __future__ import annotations

import numpy as np
import pytest

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 2, "i": 3, "j": 4, "k": 5}
EQUATIONS = [
    "ij,jk->ik",
    "ij,kj->ik",
    "ji,jk->ki",
    "aij,ajk->aik",
    "abij,abkj->abik",
    "baij,abjk->bkia",
    "ab,cd->acbd",
    "ab,ab->ab",
    "ab,ab->a",
    "ab,ab->",
    "ab,b->a",
    "abc,cd->abd",
    "abc,dc->dba",
    "abc,bcd->ad",
    "ab,bc",
    "ab,bc->a",
    "abc->cab",
    "abc->ac",
    "abc->",
    "ba",
    "a,b->ab",
    "a,b->ba",
    "aibj,cj->acib",
]


def feeds_of(rng, equation: str) -> dict[str, np.ndarray]:
    terms = equation.split("->")[0].split(",")
    shapes = {f"x{i}": [SIZES[label] for label in term] for i, term in enumerate(terms)}
    return {name: rng.integers(-3, 4, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_equations(check, make_node_model, rng, equation):
    feeds = feeds_of(rng, equation)
    check(make_node_model("Einsum", feeds, equation=equation), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("equation", ["ij,jk->ik", "abc,dc->dba", "abc,cd->abd", "aij,ajk->aik"])
def test_constant_operand(check, make_node_model, rng, equation):
    feeds = feeds_of(rng, equation)
    given = {"x1": feeds.pop("x1")}
    check(make_node_model("Einsum", feeds, given, equation=equation), feeds, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 3, 3, 4), (2, 3, 4, 5)]),
        ("...ij,jk->...ik", [(2, 3, 3, 4), (4, 5)]),
        ("...i->i...", [(2, 3, 4)]),
        ("...i->...", [(2, 3, 4)]),
        ("... i , i -> ...", [(2, 3, 4), (4,)]),
        ("ii...,...->...i", [(3, 3, 2), (2,)]),
    ],
)
def test_ellipsis(check, refusals, make_node_model, rng, equation, shapes):
    feeds = {f"x{i}": rng.integers(-3, 4, shape).astype(np.float32) for i, shape in enumerate(shapes)}
    model = make_node_model("Einsum", feeds, equation=equation)
    if "ii" in equation:
        assert "twice" in refusals(model)[0]
    else:
        check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("equation", "shapes", "reason"),
    [
        ("ii->i", [(3, 3)], "a label twice"),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], "more than two operands"),
        ("...i,...i->...", [(1, 3), (2, 3)], "broadcasts an axis"),
    ],
)
def test_refusals(refusals, make_node_model, equation, shapes, reason):
    feeds = {f"x{i}": np.ones(shape, np.float32) for i, shape in enumerate(shapes)}
    assert reason in refusals(make_node_model("Einsum", feeds, equation=equation))[0]


def test_integers_are_refused(refusals, make_node_model):
    feeds = {"a": np.ones((2, 3), np.int32), "b": np.ones((3, 2), np.int32)}
    assert "Einsum of int32" in refusals(make_node_model("Einsum", feeds, equation="ij,jk->ik"))[0]
