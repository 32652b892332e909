"""Pad in all its modes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

TYPES = ["float32", "int32", "int64", "bool"]
PROGRAM = ("mlprogram",)
ALL_AXES = [0, 1, 2, 0, 0, 2, 1, 0]
PICTURE = [0, 0, 2, 1, 0, 0, 1, 3]


def numbers(rng, shape, dtype="float32") -> np.ndarray:
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("pads", [ALL_AXES, PICTURE], ids=str)
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_modes(check, make_node_model, rng, mode, pads, dtype) -> None:
    feeds = {"x": numbers(rng, (2, 3, 4, 5), dtype)}
    model = make_node_model("Pad", feeds, {"pads": np.array(pads)}, opset=19, mode=mode)
    check(model, feeds, 0, 0)


@pytest.mark.parametrize("dtype", TYPES)
def test_values(check, make_node_model, rng, dtype) -> None:
    feeds = {"x": numbers(rng, (2, 3, 4, 5), dtype)}
    constants = {"pads": np.array(ALL_AXES), "value": np.array(7, dtype)}
    check(make_node_model("Pad", feeds, constants), feeds, 0, 0)


def test_infinite_value(check, make_node_model, rng) -> None:
    feeds = {"x": numbers(rng, (1, 3, 4, 5))}
    constants = {"pads": np.array(PICTURE), "value": np.array(-np.inf, np.float32)}
    check(make_node_model("Pad", feeds, constants), feeds, 0, 0)


@pytest.mark.parametrize("mode", ["edge", "wrap"])
def test_more_than_the_axis_has(check, make_node_model, rng, mode) -> None:
    feeds = {"x": numbers(rng, (1, 2, 3))}
    model = make_node_model("Pad", feeds, {"pads": np.array([0, 3, 5, 0, 2, 4])}, opset=19, mode=mode)
    check(model, feeds, 0, 0)


def test_axes(check, make_node_model, rng) -> None:
    feeds = {"x": numbers(rng, (2, 3, 4, 5))}
    constants = {"pads": np.array([1, 2, 3, 4]), "value": np.float32(3), "axes": np.array([-1, 1])}
    check(make_node_model("Pad", feeds, constants), feeds, 0, 0)


def test_attributes_of_old_opsets(check, make_node_model, rng) -> None:
    feeds = {"x": numbers(rng, (2, 3, 4))}
    check(make_node_model("Pad", feeds, opset=10, pads=[0, 1, 2, 1, 0, 0], value=1.5), feeds, 0, 0)


@pytest.mark.parametrize("dtype", ["float32", "bool"])
@pytest.mark.parametrize("pads", [[0, -1, 2, -2, 0, 1, -1, -1], [0, 0, -1, 0, 0, 0, 0, -2]], ids=str)
def test_negative_pads_cut_off(check, make_node_model, rng, pads, dtype) -> None:
    feeds = {"x": numbers(rng, (2, 3, 4, 5), dtype)}
    check(make_node_model("Pad", feeds, {"pads": np.array(pads)}), feeds, 0, 0)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 2, 2, 3, 3)], ids=str)
def test_ranks(check, make_node_model, rng, shape, mode) -> None:
    feeds = {"x": numbers(rng, shape)}
    pads = np.array([1] * len(shape) + [0] * len(shape))
    check(make_node_model("Pad", feeds, {"pads": pads}, mode=mode), feeds, 0, 0)


def test_pictures_take_one_operator(check, make_node_model, rng) -> None:
    feeds = {"x": numbers(rng, (1, 3, 4, 5))}
    for mode in ("constant", "reflect", "edge"):
        ops = check(make_node_model("Pad", feeds, {"pads": np.array(PICTURE)}, mode=mode), feeds, 0, 0)
        assert {name: count for name, count in ops.items() if name != "const"} == {"pad": 1}


@pytest.mark.parametrize(
    ("mode", "pads", "word"),
    [
        ("reflect", [0, 0, -1, 0, 0, 0, 0, 0], "negative pads"),
        ("constant", [0, 0, -4, 0, 0, 0, 1, 0], "cut a whole axis off"),
    ],
)
def test_refusals(refusals, make_node_model, mode, pads, word) -> None:
    feeds = {"x": np.zeros((1, 1, 4, 4), np.float32)}
    (reason,) = refusals(make_node_model("Pad", feeds, {"pads": np.array(pads)}, mode=mode))
    assert word in reason


def test_computed_pads_are_refused(refusals, make_model) -> None:
    feeds = {"x": np.zeros((1, 1, 4, 4), np.float32), "pads": np.zeros(8, np.int64)}
    model = make_model(helper.make_node("Pad", ["x", "pads"], ["y"], name="node"), feeds)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [1, 1, 4, 4]))
    (reason,) = refusals(model)
    assert "pads is computed" in reason


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pads=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4),
    mode=st.sampled_from(["constant", "reflect", "edge", "wrap"]),
)
def test_any_pads(check, make_node_model, pads, mode) -> None:
    shape = (3, 4, 3, 5)[: len(pads)]
    feeds = {"x": numbers(np.random.default_rng(0), shape)}
    amounts = np.array([before for before, _ in pads] + [after for _, after in pads])
    check(make_node_model("Pad", feeds, {"pads": amounts}, opset=19, mode=mode), feeds, 0, 0, PROGRAM)
