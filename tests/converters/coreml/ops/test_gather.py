"""Elements read from, or written to, places that are given by indices."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

TYPES = ["float32", "int64", "bool"]
REDUCTIONS = ["none", "add", "mul", "max", "min"]
PROGRAM = ("mlprogram",)
INDICES = {
    "scalar": np.array(1),
    "negative scalar": np.array(-1),
    "neighbours": np.array([1, 2]),
    "apart": np.array([2, 0, -1]),
    "matrix": np.array([[0, 2], [-2, 1]]),
}


def numbers(rng, shape, dtype="float32") -> np.ndarray:
    return np.asarray(rng.integers(0, 2 if dtype == "bool" else 100, shape)).astype(dtype)


def exact(check, model, feeds, **options):
    return check(model, feeds, rtol=0, atol=0, **options)


def identifier(text: str) -> str:
    """A name that Core ML keeps."""
    return re.sub(r"\W", "_", text)


def placed(feeds, indices, constant):
    """Feeds and constants with the indices in one of them."""
    return (feeds, {"indices": indices}) if constant else (feeds | {"indices": indices}, {})


@pytest.mark.parametrize("constant", [True, False])
def test_gather(check, make_model, rng, constant):
    """Every kind of indices along every axis side by side."""
    found = {identifier(name): array for name, array in INDICES.items() if constant or array.ndim}
    feeds = {"x": numbers(rng, (3, 4, 5))} | ({} if constant else found)
    rows = {identifier(f"{name} along {axis}"): (name, axis) for name in found for axis in (0, 1, -1)}
    nodes = [helper.make_node("Gather", ["x", name], [row], axis=axis) for row, (name, axis) in rows.items()]
    exact(check, make_model(nodes, feeds, list(rows), found if constant else {}), feeds)


@pytest.mark.parametrize("dtype", TYPES)
def test_types(check, make_node_model, rng, dtype):
    feeds = {"x": numbers(rng, (3, 4), dtype), "indices": np.array([2, -3, 0], np.int32)}
    exact(check, make_node_model("Gather", feeds, axis=1), feeds)


def test_words_from_a_table(check, make_node_model, rng):
    feeds = {"words": np.array([[2, 0, -1], [5, 5, 1]])}
    model = make_node_model("Gather", feeds, {"x": numbers(rng, (6, 4))}, order=["x", "words"])
    exact(check, model, feeds)


def test_neighbours_are_sliced(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (3, 4))}
    model = make_node_model("Gather", feeds, {"i": np.array([1, 2, 3])}, axis=1)
    ops = exact(check, model, feeds, kinds=PROGRAM)
    assert ops == {"slice_by_index": 1}


def test_one_element_of_a_vector(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (3,))}
    exact(check, make_node_model("Gather", feeds, {"i": np.array(-2)}), feeds)


@pytest.mark.parametrize("ios", [16, 17, 18])
@pytest.mark.parametrize("op_type", ["Gather", "GatherElements", "GatherND"])
def test_negative_indices_on_newer_systems(check, make_node_model, rng, op_type, ios):
    feeds = {"x": numbers(rng, (3, 4)), "indices": np.array([[-1, 0, 2, 1]]).T[:3, [0, 0, 0, 0]][:, :2]}
    exact(check, make_node_model(op_type, feeds), feeds, kinds=PROGRAM, ios=ios)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_gather_elements(check, make_model, rng, dtype, constant):
    feeds, constants = placed({"x": numbers(rng, (3, 3, 3), dtype)}, rng.integers(-3, 3, (2, 3, 2)), constant)
    nodes = [
        helper.make_node("GatherElements", ["x", "indices"], [identifier(f"axis {axis}")], axis=axis)
        for axis in (0, 1, -1)
    ]
    exact(check, make_model(nodes, feeds, [node.output[0] for node in nodes], constants), feeds)


def test_gather_more_elements_than_there_are(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 3)), "indices": rng.integers(-3, 3, (1, 7))}
    exact(check, make_node_model("GatherElements", feeds, axis=1), feeds)


@pytest.mark.parametrize("constant", [True, False])
def test_gather_nd(check, make_model, rng, constant):
    feeds, found, nodes = {"x": numbers(rng, (2, 3, 4))}, {}, []
    rows = [((4, 1), 0), ((4, 2), 0), ((2, 2, 3), 0), ((2, 1), 1), ((2, 5, 2), 1), ((2, 3, 1), 2)]
    for depth, batch in rows:
        limit, name = np.array((2, 3, 4)[batch : batch + depth[-1]]), identifier(f"x{depth} {batch}")
        found[name] = rng.integers(-limit, limit, depth)
        nodes.append(helper.make_node("GatherND", ["x", name], [f"y{name}"], batch_dims=batch))
    feeds, constants = (feeds, found) if constant else (feeds | found, {})
    exact(check, make_model(nodes, feeds, [node.output[0] for node in nodes], constants), feeds)


@pytest.mark.parametrize("dtype", TYPES)
def test_gather_nd_types(check, make_node_model, rng, dtype):
    feeds = {"x": numbers(rng, (2, 3), dtype), "indices": np.array([[1, -1], [0, 0]])}
    exact(check, make_node_model("GatherND", feeds), feeds)


def reductions(make_model, op_type, feeds, found, constant, **attributes):
    """A model with an output per reduction; `found` are the indices without and with repeated places."""
    names = {"once": found[0], "often": found[1]}
    given = feeds if constant else feeds | names
    nodes = [
        helper.make_node(
            op_type,
            ["x", "once" if reduction == "none" else "often", "updates"],
            [reduction],
            reduction=reduction,
            **attributes,
        )
        for reduction in REDUCTIONS
    ]
    return make_model(nodes, given, REDUCTIONS, names if constant else {}), given


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_scatter_nd(check, make_model, rng, dtype, constant):
    found = np.array([[-1], [1]]), np.array([[1], [1]])
    feeds = {"x": numbers(rng, (4, 3), dtype), "updates": numbers(rng, (2, 3), dtype)}
    model, feeds = reductions(make_model, "ScatterND", feeds, found, constant)
    exact(check, model, feeds)


def test_scatter_nd_of_single_elements(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 3, 4)), "updates": numbers(rng, (2, 2))}
    vectors = {"indices": np.array([[[0, 0, 0], [-1, 2, 3]], [[1, -3, 1], [0, 1, 2]]])}
    model = make_node_model("ScatterND", feeds, vectors, order=["x", "indices", "updates"])
    exact(check, model, feeds)


@pytest.mark.parametrize("op_type", ["ScatterND", "ScatterElements"])
def test_booleans_are_written(check, make_node_model, rng, op_type):
    feeds = {"x": numbers(rng, (4, 1), "bool"), "i": np.array([[2]]), "u": numbers(rng, (1, 1), "bool")}
    exact(check, make_node_model(op_type, feeds), feeds)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("axis", [0, -1])
def test_scatter_elements(check, make_model, rng, axis, constant):
    found = np.array([[0, -2], [2, 1]]), np.array([[0, 1], [0, 1]])
    feeds = {"x": numbers(rng, (4, 3)), "updates": numbers(rng, (2, 2))}
    model, feeds = reductions(make_model, "ScatterElements", feeds, found, constant, axis=axis)
    exact(check, model, feeds)


@pytest.mark.parametrize("op_type", ["ScatterND", "ScatterElements"])
def test_repeated_places_are_refused(refusals, make_node_model, op_type):
    feeds = {"x": np.ones((4, 1), np.float32), "u": np.ones((2, 1), np.float32)}
    model = make_node_model(op_type, feeds, {"i": np.array([[1], [-3]])}, order=["x", "i", "u"])
    assert "reduction 'none'" in refusals(model)[0]


def test_sums_of_booleans_are_refused(refusals, make_node_model):
    feeds = {"x": np.ones((4, 1), bool), "i": np.array([[1]]), "u": np.ones((1, 1), bool)}
    assert "reduction 'max' of booleans" in refusals(make_node_model("ScatterND", feeds, reduction="max"))[0]


@pytest.mark.parametrize("op_type", ["Gather", "GatherElements"])
def test_indices_beyond_the_axis_are_refused(refusals, make_node_model, op_type):
    model = make_node_model(op_type, {"x": np.ones((4, 1), np.float32)}, {"i": np.array([[4]])})
    assert "beyond the axis" in refusals(model)[0]


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("indices", ["int64", "float32"])
def test_one_hot(check, make_model, indices, dtype):
    feeds = {"indices": np.array([[0, -1, 2], [7, -9, -4]], indices)}
    constants = {"depth": np.array(4), "values": np.array([-2, 5]).astype(dtype)}
    nodes = [
        helper.make_node("OneHot", ["indices", "depth", "values"], [identifier(f"axis {axis}")], axis=axis)
        for axis in (-1, 0, 1)
    ]
    exact(check, make_model(nodes, feeds, [node.output[0] for node in nodes], constants), feeds)


def test_one_hot_of_values_at_run_time(check, make_node_model):
    feeds = {"indices": np.array([1, 2]), "values": np.array([-3, 1.5], np.float32)}
    order = ["indices", "depth", "values"]
    exact(check, make_node_model("OneHot", feeds, {"depth": np.array(4)}, order=order), feeds)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_gathers(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    form = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    limit = shape[axis]
    indices = np.random.default_rng(limit).integers(-limit, limit, form)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    feeds, constants = placed({"x": x}, np.asarray(indices), data.draw(st.booleans()))
    exact(check, make_node_model("Gather", feeds, constants, axis=axis), feeds, kinds=PROGRAM)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_sums_of_scattered_elements(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    form = [data.draw(st.integers(1, 5 if at == axis else size)) for at, size in enumerate(shape)]
    rng = np.random.default_rng(axis)
    feeds = {"x": numbers(rng, shape), "updates": numbers(rng, form)}
    feeds, constants = placed(feeds, rng.integers(-shape[axis], shape[axis], form), data.draw(st.booleans()))
    order = ["x", "indices", "updates"]
    model = make_node_model("ScatterElements", feeds, constants, order=order, axis=axis, reduction="add")
    exact(check, model, feeds, kinds=PROGRAM)
