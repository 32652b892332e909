"""Einsum of one and two operands."""

from __future__ import annotations

import numpy as np
import pytest

EQUATIONS = [
    "ij,jk->ik",
    "ij,kj->ik",
    "ji,jk->ki",
    "ji,kj->ik",
    "aij,ajk->aik",
    "abij,abkj->abik",
    "baij,abjk->bkia",
    "bhqd,bhkd->bhqk",
    "bqhd,bkhd->bhqk",
    "ab,cd->acbd",
    "ab,ab->ab",
    "ab,ab->a",
    "ab,ab->",
    "ab,b->a",
    "abc,dc->dba",
    "abc,bcd->ad",
    "ab,bc",
    "ab,bc->a",
    "abc->cab",
    "abc->ac",
    "abc->",
    "ba",
    "a,b->ba",
    "aibj,cj->acib",
    "abcde,abcdf->abcef",
]
SIZES = {letter: 2 + index % 3 for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_equations(equation, check, make_node_model, rng) -> None:
    terms = equation.split("->")[0].split(",")
    feeds = {
        f"x{index}": rng.normal(size=[SIZES[label] for label in term]).astype(np.float32)
        for index, term in enumerate(terms)
    }
    check(make_node_model("Einsum", feeds, equation=equation), feeds)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 3, 3, 4), (2, 3, 4, 5)]),
        ("...ij,jk->...ik", [(2, 3, 3, 4), (4, 5)]),
        ("...i->i...", [(2, 3, 4)]),
        ("...i->...", [(2, 3, 4)]),
        ("... i , i -> ...", [(2, 3, 4), (4,)]),
    ],
)
def test_ellipses(equation, shapes, check, make_node_model, rng) -> None:
    feeds = {f"x{i}": rng.normal(size=shape).astype(np.float32) for i, shape in enumerate(shapes)}
    check(make_node_model("Einsum", feeds, equation=equation), feeds)


@pytest.mark.parametrize(
    ("equation", "shapes", "word"),
    [
        ("ii->i", [(3, 3)], "a label twice"),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], "more than two operands"),
        ("...i,...i->...", [(1, 3), (2, 3)], "broadcasts an axis"),
    ],
)
def test_refusals(equation, shapes, word, refusals, make_node_model) -> None:
    feeds = {f"x{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    (reason,) = refusals(make_node_model("Einsum", feeds, equation=equation))
    assert word in reason


def test_integers_are_refused(refusals, make_node_model) -> None:
    feeds = {name: np.zeros((3, 3), np.int32) for name in "ab"}
    (reason,) = refusals(make_node_model("Einsum", feeds, equation="ij,jk->ik"))
    assert "Einsum of int32" in reason
