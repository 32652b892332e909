"""Matrix products: Gemm and MatMul."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

BIASES = [None, (), (1,), (5,), (1, 5), (3, 1), (3, 5)]


def numbers(rng, shape) -> np.ndarray:
    return np.asarray(rng.uniform(-1, 1, shape)).astype(np.float32)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)], ids=str)
def test_gemm(check, make_node_model, rng, bias, factors, constant):
    """B and C both constant or both computed."""
    feeds, rest = {"a": numbers(rng, (3, 4))}, {"b": numbers(rng, (4, 5))}
    if bias is not None:
        rest["c"] = numbers(rng, bias)
    if not constant:
        feeds, rest = feeds | rest, {}
    check(make_node_model("Gemm", feeds, rest, alpha=factors[0], beta=factors[1]), feeds)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("turned", [(0, 0), (1, 0), (0, 1), (1, 1)], ids=str)
def test_transposed_gemm(check, make_node_model, rng, turned, constant):
    feeds = {"a": numbers(rng, (4, 3) if turned[0] else (3, 4))}
    rest = {"b": numbers(rng, (5, 4) if turned[1] else (4, 5)), "c": numbers(rng, (5,))}
    if not constant:
        feeds, rest = feeds | rest, {}
    check(make_node_model("Gemm", feeds, rest, transA=turned[0], transB=turned[1]), feeds)


def test_gemm_with_a_constant_bias_and_relu_is_one_operator(check, make_model, rng):
    feeds = {"a": numbers(rng, (3, 4))}
    nodes = [
        helper.make_node("Gemm", ["a", "b", "c"], ["v"], alpha=0.5, transB=1),
        helper.make_node("Relu", ["v"], ["y"]),
    ]
    constants = {"b": numbers(rng, (5, 4)), "c": numbers(rng, (5,))}
    assert check(make_model(nodes, feeds, constants=constants), feeds) == {"FULLY_CONNECTED": 1}


PAIRS = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((2, 2, 3, 4), (4, 5)),
    ((2, 2, 2, 3, 4), (4, 5)),
    ((2, 2, 2, 1, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (3, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((1, 3, 4), (2, 2, 4, 5)),
    ((2, 2, 1, 3, 4), (2, 1, 3, 4, 5)),
    ((2, 2, 2, 2, 3, 4), (2, 2, 2, 2, 4, 5)),
    ((2, 1, 2, 1, 3, 4), (1, 2, 1, 2, 4, 5)),
    ((3, 4), (1, 4, 5)),
    ((4,), (4, 5)),
    ((4,), (2, 4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4,)),
    ((4,), (4,)),
]


@pytest.mark.parametrize("constant", [None, "a", "b"])
@pytest.mark.parametrize("shapes", PAIRS, ids=str)
def test_matmul(check, make_node_model, rng, shapes, constant):
    both = {name: numbers(rng, shape) for name, shape in zip("ab", shapes, strict=True)}
    feeds = {name: array for name, array in both.items() if name != constant}
    given = {constant: both[constant]} if constant else {}
    ops = check(make_node_model("MatMul", feeds, given, order=["a", "b"]), feeds)
    assert "TRANSPOSE" not in ops
    if constant == "b" and len(shapes[1]) == 2:
        assert "BATCH_MATMUL" not in ops


@pytest.mark.parametrize("turned", [(0, 0), (1, 0), (0, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_transposed_operands_are_flags(check, make_model, rng, batch, turned):
    """A Transpose of the last two axes before MatMul moves nothing."""
    rank = len(batch) + 2
    perm = [*range(rank - 2), rank - 1, rank - 2]
    a = numbers(rng, (*batch, 4, 3) if turned[0] else (*batch, 3, 4))
    b = numbers(rng, (*batch, 5, 4) if turned[1] else (*batch, 4, 5))
    nodes, names = [], ["a", "b"]
    for index in range(2):
        if turned[index]:
            nodes.append(helper.make_node("Transpose", [names[index]], [f"t{index}"], perm=perm))
            names[index] = f"t{index}"
    nodes.append(helper.make_node("MatMul", names, ["v"]))
    nodes.append(helper.make_node("Neg", ["v"], ["y"]))
    model = make_model(nodes, {"a": a, "b": b})
    ops = check(model, {"a": a, "b": b}, layouts=("nchw", "nhwc"))
    # Both turned, the product is made transposed; only the network's output is moved.
    assert ops.get("TRANSPOSE", 0) == (1 if turned == (1, 1) else 0)


@pytest.mark.parametrize("op_type", ["MatMul", "Gemm"])
def test_integers_are_refused(refusals, make_node_model, op_type):
    feeds = {"a": np.ones((2, 3), np.int32), "b": np.ones((3, 2), np.int32)}
    assert f"{op_type} of int32" in refusals(make_node_model(op_type, feeds))[0]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_products_are_exact(check, make_node_model, data):
    batch = data.draw(st.lists(st.integers(1, 3), max_size=4))
    rows, summed, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    shapes = {}
    for name, matrix in (("a", (rows, summed)), ("b", (summed, columns))):
        own = [data.draw(st.sampled_from([size, 1])) for size in batch]
        shapes[name] = (*own[data.draw(st.integers(0, len(batch))) :], *matrix)
    rng = np.random.default_rng(rows)
    both = {name: rng.integers(-3, 4, shape).astype(np.float32) for name, shape in shapes.items()}
    constant = data.draw(st.sampled_from([None, "a", "b"]))
    feeds = {name: array for name, array in both.items() if name != constant}
    given = {constant: both[constant]} if constant else {}
    check(make_node_model("MatMul", feeds, given, order=["a", "b"]), feeds, rtol=0, atol=0)
