"""Parts of a tensor: Slice and Split."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

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
    return np.asarray(rng.integers(0, 2 if dtype == "bool" else 100, shape)).astype(dtype)


def slice_constants(starts, ends, axes, strides) -> dict[str, np.ndarray]:
    named = {"starts": starts, "ends": ends, "axes": axes, "steps": strides}
    return {name: np.array(given, np.int64) for name, given in named.items() if given is not None}


def identifier(text: str) -> str:
    """A name that Core ML keeps."""
    return re.sub(r"\W", "_", text)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_slices(check, make_model, rng, dtype):
    """All rows side by side, each to an output of its name."""
    feeds, constants, nodes = {"x": numbers(rng, (2, 4, 5), dtype)}, {}, []
    for row_name, row in ROWS.items():
        name = identifier(row_name)
        given = {f"{part}_of_{name}": array for part, array in slice_constants(*row).items()}
        order = ["x", *(f"{part}_of_{name}" for part in ("starts", "ends", "axes", "steps"))]
        order = [given_name if given_name == "x" or given_name in given else "" for given_name in order]
        nodes.append(helper.make_node("Slice", order, [name]))
        constants |= given
    check(make_model(nodes, feeds, [node.output[0] for node in nodes], constants), feeds, rtol=0, atol=0)


def test_attributes_of_old_opsets(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 4, 5))}
    check(make_node_model("Slice", feeds, opset=9, starts=[1, -3], ends=[3, FAR], axes=[1, 2]), feeds, 0, 0)
    check(make_node_model("Slice", feeds, opset=9, starts=[1], ends=[2]), feeds, rtol=0, atol=0)


def test_five_axes(check, make_model, rng):
    feeds, constants, nodes = {"x": numbers(rng, (3, 2, 3, 2, 3))}, {}, []
    for axes in ([1], [0, 4], [0, 1, 2, 3, 4]):
        for step in (1, 2, -1):
            begin, end = (0, 2) if step > 0 else (1, -FAR)
            row = ([begin] * len(axes), [end] * len(axes), axes, [step] * len(axes))
            name = identifier(f"axes {axes} step {step}")
            given = {f"{part}_of_{name}": array for part, array in slice_constants(*row).items()}
            nodes.append(helper.make_node("Slice", ["x", *given], [name]))
            constants |= given
    check(make_model(nodes, feeds, [node.output[0] for node in nodes], constants), feeds, rtol=0, atol=0)


def test_slice_at_run_time_is_refused(refusals, make_node_model):
    feeds = {"x": np.ones((2, 3), np.float32), "starts": np.array([0]), "ends": np.array([1])}
    assert "depends on the values" in refusals(make_node_model("Slice", feeds))[0]


def test_nothing_left_is_refused(refusals, make_node_model):
    constants = slice_constants([3], [3], [0], None)
    model = make_node_model("Slice", {"x": np.ones((4, 3), np.float32)}, constants)
    assert "no elements" in refusals(model)[0]


SPLITS = {
    "equal": (1, [2, 2, 2], 3),
    "unequal": (1, [1, 2, 3], 3),
    "one part": (-2, [6], 1),
    "two of a number": (-1, None, 2),
    "four of a number": (-1, None, 4),
}


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_splits(check, make_model, rng, dtype):
    feeds, constants, nodes = {"x": numbers(rng, (2, 6, 7), dtype)}, {}, []
    for name, (axis, sizes, parts) in SPLITS.items():
        outputs = [identifier(f"{name} {index}") for index in range(parts)]
        if sizes is None:
            nodes.append(helper.make_node("Split", ["x"], outputs, axis=axis, num_outputs=parts))
        else:
            nodes.append(helper.make_node("Split", ["x", identifier(f"sizes of {name}")], outputs, axis=axis))
            constants[identifier(f"sizes of {name}")] = np.array(sizes)
    outputs = [output for node in nodes for output in node.output]
    check(make_model(nodes, feeds, outputs, constants), feeds, rtol=0, atol=0)


def test_split_sizes_as_an_attribute(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 6))}
    model = make_node_model("Split", feeds, outputs=["a", "b"], opset=11, axis=1, split=[2, 4])
    check(model, feeds, rtol=0, atol=0)


def test_parts_that_nothing_reads(check, make_model, rng):
    feeds = {"x": numbers(rng, (2, 6))}
    split = helper.make_node("Split", ["x", "sizes"], ["a", "b", "c"], name="split", axis=1)
    model = make_model(split, feeds, ["b"], {"sizes": np.array([1, 2, 3])})
    check(model, feeds, rtol=0, atol=0)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_slices(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
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
        check(model, {"x": x}, rtol=0, atol=0, kinds=("mlprogram",))
