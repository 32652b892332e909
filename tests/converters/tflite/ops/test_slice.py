"""Parts of a tensor: Slice and Split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

TYPES = ["float32", "int32", "int64", "int8", "uint8", "int16", "bool", "uint32"]
FAR = 2**62
ROWS = {
    "one axis": ([1], [3], [2], None),
    "all axes": ([0, 1, 1], [2, 3, 4], None, None),
    "negative axis and places": ([-3], [-1], [-1], None),
    "beyond the end": ([1], [FAR], [1], None),
    "steps": ([0, 1], [FAR, FAR], [1, 2], [2, 3]),
    "reversed": ([-1], [-FAR], [1], [-1]),
    "reversed in part": ([4], [0], [2], [-2]),
    "reversed from beyond the end": ([FAR], [-FAR], [2], [-1]),
    "reversed twice": ([-1, -1], [-FAR, -FAR], [0, 2], [-1, -1]),
    "one element of a long step": ([2], [5], [2], [100]),
    "nothing": ([0], [FAR], [1], None),
}


def numbers(rng, shape, dtype="float32") -> np.ndarray:
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


def slice_constants(starts, ends, axes, strides) -> dict[str, np.ndarray]:
    named = {"starts": starts, "ends": ends, "axes": axes, "steps": strides}
    return {name: np.array(given, np.int64) for name, given in named.items() if given is not None}


def slice_order(constants) -> list[str]:
    order = ["x", *(name if name in constants else "" for name in ("starts", "ends", "axes", "steps"))]
    while not order[-1]:
        order.pop()
    return order


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_slice(check, make_node_model, rng, row):
    feeds, constants = {"x": numbers(rng, (2, 4, 5))}, slice_constants(*row)
    model = make_node_model("Slice", feeds, constants, order=slice_order(constants))
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("row", [ROWS["one axis"], ROWS["steps"], ROWS["reversed twice"]])
def test_types(check, make_node_model, rng, row, dtype):
    feeds, constants = {"x": numbers(rng, (2, 4, 5), dtype)}, slice_constants(*row)
    model = make_node_model("Slice", feeds, constants, order=slice_order(constants))
    check(model, feeds, rtol=0, atol=0)


def test_attributes_of_old_opsets(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 4, 5))}
    check(make_node_model("Slice", feeds, opset=9, starts=[1, -3], ends=[3, FAR], axes=[1, 2]), feeds, 0, 0)
    check(make_node_model("Slice", feeds, opset=9, starts=[1], ends=[2]), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("step", [1, 2, -1])
@pytest.mark.parametrize("axes", [[1], [0, 6], [1, 3, 5], [0, 2, 4, 6]], ids=str)
def test_seven_axes(check, make_node_model, rng, axes, step):
    feeds = {"x": numbers(rng, (3, 2, 3, 2, 3, 2, 3))}
    count = len(axes)
    begin, end = (0, 2) if step > 0 else (1, -FAR)
    constants = slice_constants([begin] * count, [end] * count, axes, [step] * count)
    check(make_node_model("Slice", feeds, constants), feeds, rtol=0, atol=0)


def test_slice_at_run_time_is_refused(refusals, make_node_model):
    feeds = {"x": np.ones((2, 3), np.float32), "starts": np.array([0]), "ends": np.array([1])}
    assert "depends on the values" in refusals(make_node_model("Slice", feeds))[0]


def test_nothing_left_is_refused(refusals, make_node_model):
    constants = slice_constants([3], [3], [0], None)
    model = make_node_model("Slice", {"x": np.ones((4, 3), np.float32)}, constants)
    assert "axis of length 0" in refusals(model)[0]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("sizes", [[2, 2, 2], [1, 2, 3], [6]], ids=str)
@pytest.mark.parametrize("axis", [1, -2])
def test_split(check, make_node_model, rng, axis, sizes, dtype):
    feeds = {"x": numbers(rng, (2, 6, 3), dtype)}
    names = [f"y{index}" for index in range(len(sizes))]
    model = make_node_model("Split", feeds, {"split": np.array(sizes)}, outputs=names, axis=axis)
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize(("length", "parts"), [(6, 3), (7, 3), (7, 4), (5, 2)])
def test_split_into_a_number_of_parts(check, make_node_model, rng, length, parts):
    feeds = {"x": numbers(rng, (2, length))}
    names = [f"y{index}" for index in range(parts)]
    model = make_node_model("Split", feeds, outputs=names, axis=1, num_outputs=parts)
    check(model, feeds, rtol=0, atol=0)


def test_split_sizes_as_an_attribute(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 6))}
    model = make_node_model("Split", feeds, outputs=["a", "b"], opset=11, axis=1, split=[2, 4])
    check(model, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_parts_that_nothing_reads(check, make_model, rng, dtype):
    feeds = {"x": numbers(rng, (2, 6), dtype)}
    split = helper.make_node("Split", ["x", "sizes"], ["a", "b", "c"], name="split", axis=1)
    model = make_model(split, feeds, ["b"], {"sizes": np.array([1, 2, 3])})
    check(model, feeds, rtol=0, atol=0)


def test_channels_are_split_where_they_are_stored(check, make_model, rng):
    x, weights = numbers(rng, (1, 4, 3, 5)), numbers(rng, (4, 4, 1, 1))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["v"]),
        helper.make_node("Split", ["v"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["a", "b"], ["y"]),
    ]
    ops = check(make_model(nodes, {"x": x}, constants={"w": weights}), {"x": x}, rtol=0, atol=0)
    assert ops == {"CONV_2D": 1, "SPLIT": 1, "MUL": 1}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_slices(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    place = st.integers(-7, 7)
    axes = sorted(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    starts, ends = ([data.draw(place) for _ in axes] for _ in range(2))
    strides = [data.draw(st.sampled_from([1, 2, 3, -1, -2, -3])) for _ in axes]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    taken = [slice(None)] * len(shape)
    for axis, start, end, stride in zip(axes, starts, ends, strides, strict=True):
        taken[axis] = slice(start, end, stride)
    if x[tuple(taken)].size:
        model = make_node_model("Slice", {"x": x}, slice_constants(starts, ends, axes, strides))
        check(model, {"x": x}, rtol=0, atol=0)
