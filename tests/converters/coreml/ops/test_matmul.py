"""Matrix products: Gemm and MatMul."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROGRAM = ("mlprogram",)
BIASES = [None, (), (1,), (5,), (1, 5), (3, 1), (3, 5)]


def numbers(rng, shape) -> np.ndarray:
    return np.asarray(rng.uniform(-1, 1, shape)).astype(np.float32)


def operators(ops: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in ops.items() if name != "const"}


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.5, 2.0)], ids=str)
def test_gemm(check, make_node_model, rng, bias, factors, constant) -> None:
    feeds, rest = {"a": numbers(rng, (3, 4))}, {"b": numbers(rng, (4, 5))}
    if bias is not None:
        rest["c"] = numbers(rng, bias)
    if not constant and bias != ():
        feeds, rest = feeds | rest, {}
    check(make_node_model("Gemm", feeds, rest, alpha=factors[0], beta=factors[1]), feeds)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("turned", [(1, 0), (0, 1), (1, 1)], ids=str)
def test_transposed_gemm(check, make_node_model, rng, turned, constant) -> None:
    feeds = {"a": numbers(rng, (4, 3) if turned[0] else (3, 4))}
    rest = {"b": numbers(rng, (5, 4) if turned[1] else (4, 5)), "c": numbers(rng, (5,))}
    if not constant:
        feeds, rest = feeds | rest, {}
    check(make_node_model("Gemm", feeds, rest, transA=turned[0], transB=turned[1]), feeds)


def test_gemm_without_its_bias(check, make_node_model, rng) -> None:
    feeds = {"a": numbers(rng, (3, 4))}
    constants = {"b": numbers(rng, (4, 5)), "c": np.full((5,), np.inf, np.float32)}
    made = make_node_model("Gemm", feeds, {**constants, "c": numbers(rng, (5,))}, beta=0.0)
    assert operators(check(made, feeds)) == {"linear": 1}


def test_gemm_with_a_constant_bias_is_one_operator(check, make_node_model, rng) -> None:
    feeds = {"a": numbers(rng, (3, 4))}
    constants = {"b": numbers(rng, (5, 4)), "c": numbers(rng, (5,))}
    model = make_node_model("Gemm", feeds, constants, alpha=0.5, transB=1)
    assert operators(check(model, feeds)) == {"linear": 1}


PAIRS = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((2, 2, 3, 4), (4, 5)),
    ((2, 2, 2, 3, 4), (4, 5)),
    ((2, 1, 3, 4), (3, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 2, 1, 3, 4), (2, 1, 3, 4, 5)),
    ((4,), (4, 5)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (4,)),
]


@pytest.mark.parametrize("constant", [None, "a", "b"])
@pytest.mark.parametrize("shapes", PAIRS, ids=str)
def test_matmul(check, make_node_model, rng, shapes, constant) -> None:
    both = {name: numbers(rng, shape) for name, shape in zip("ab", shapes, strict=True)}
    feeds = {name: array for name, array in both.items() if name != constant}
    given = {constant: both[constant]} if constant else {}
    check(make_node_model("MatMul", feeds, given, order=["a", "b"]), feeds)


def test_matmul_of_integers(check, make_node_model, rng) -> None:
    feeds = {
        name: rng.integers(-9, 9, shape).astype(np.int32) for name, shape in zip("ab", PAIRS[4], strict=True)
    }
    check(make_node_model("MatMul", feeds), feeds, 0, 0, PROGRAM)


@pytest.mark.parametrize(
    ("op_type", "kind"), [("MatMul", "neuralnetwork"), ("Gemm", "neuralnetwork"), ("Gemm", "mlprogram")]
)
def test_integers_are_refused(op_type, kind, refusals, make_node_model) -> None:
    feeds = {"a": np.zeros((3, 4), np.int32), "b": np.zeros((4, 5), np.int32)}
    (reason,) = refusals(make_node_model(op_type, feeds), kind)
    assert f"{op_type} of int32" in reason


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), max_size=3),
    sizes=st.tuples(*[st.integers(1, 4)] * 3),
)
def test_any_shapes(check, make_node_model, batch, sizes) -> None:
    rng = np.random.default_rng(0)
    left = [1 if one else size for size, one, _ in batch]
    right = [1 if one else size for size, _, one in batch]
    rows, summed, columns = sizes
    feeds = {"a": numbers(rng, (*left, rows, summed)), "b": numbers(rng, (*right, summed, columns))}
    check(make_node_model("MatMul", feeds), feeds, kinds=PROGRAM)
