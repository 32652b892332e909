"""Operators that rearrange or repeat elements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

TYPES = ["float32", "int32", "int64", "int8", "uint8", "int16", "bool"]


def numbers(rng, shape, dtype="float32") -> np.ndarray:
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


def exact(check, model, feeds):
    return check(model, feeds, rtol=0, atol=0)


def behind_a_convolution(make_model, rng, x, *nodes, **constants):
    """A 1x1 convolution of "x" to "v", then these nodes, the last of which makes "y"."""
    weights = rng.integers(-2, 3, (x.shape[1], x.shape[1], 1, 1)).astype(np.float32)
    first = helper.make_node("Conv", ["x", "w"], ["v"])
    return make_model([first, *nodes], {"x": x}, constants={"w": weights, **constants})


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(check, make_node_model, rng, dtype, axis):
    feeds = {name: numbers(rng, (2, 3, 4), dtype) for name in "abc"}
    exact(check, make_node_model("Concat", feeds, axis=axis), feeds)


def test_concat_of_seven_axes_and_a_constant(check, make_node_model, rng):
    shape = (2, 1, 2, 1, 2, 3, 2)
    feeds = {"a": numbers(rng, shape)}
    exact(check, make_node_model("Concat", feeds, {"k": numbers(rng, shape)}, axis=5), feeds)


def test_concat_of_channels_behind_convolutions(check, make_model, rng):
    x = numbers(rng, (1, 3, 4, 5))
    node = helper.make_node("Concat", ["v", "x", "k"], ["y"], axis=1)
    model = behind_a_convolution(make_model, rng, x, node, k=numbers(rng, (1, 2, 4, 5)))
    assert exact(check, model, {"x": x}) == {"CONV_2D": 1, "CONCATENATION": 1}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rank", [2, 3, 4, 5, 6])
def test_transpose_is_one_operator(check, make_node_model, rng, rank, dtype):
    feeds = {"x": numbers(rng, (2, 3, 2, 4, 2, 3)[:rank], dtype)}
    perm = [int(axis) for axis in rng.permutation(rank)]
    ops = exact(check, make_node_model("Transpose", feeds, perm=perm), feeds)
    assert sum(ops.values()) == 1


def test_transpose_without_perm_reverses_the_axes(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 3, 4))}
    exact(check, make_node_model("Transpose", feeds), feeds)


ROWS = {
    "reshape": ("Reshape", (2, 3, 4), {"shape": np.array([4, 6])}, {}),
    "reshape with -1 and 0": ("Reshape", (2, 3, 4), {"shape": np.array([0, -1])}, {}),
    "flatten": ("Flatten", (2, 3, 4), {}, {"axis": 1}),
    "flatten everything": ("Flatten", (2, 3, 4), {}, {"axis": 0}),
    "flatten from the end": ("Flatten", (2, 3, 4), {}, {"axis": -1}),
    "squeeze": ("Squeeze", (1, 3, 1, 4), {"axes": np.array([0, -2])}, {}),
    "squeeze all": ("Squeeze", (1, 3, 1, 4), {}, {}),
    "unsqueeze": ("Unsqueeze", (3, 4), {"axes": np.array([0, -1])}, {}),
    "identity": ("Identity", (2, 3, 4), {}, {}),
    "identity of a scalar": ("Identity", (), {}, {}),
    "dropout": ("Dropout", (2, 3, 4), {}, {}),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_views(check, make_node_model, rng, row, dtype):
    op_type, shape, constants, attributes = row
    dtype = "float32" if op_type == "Dropout" else dtype
    feeds = {"x": numbers(rng, shape, dtype)}
    exact(check, make_node_model(op_type, feeds, constants, **attributes), feeds)


def test_mask_of_dropout(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 3))}
    exact(check, make_node_model("Dropout", feeds, outputs=("y", "mask")), feeds)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("source", "target"),
    [((3, 1), (3, 4)), ((3, 1), (2, 1, 6)), ((), (2, 3)), ((1, 1, 2, 1, 3, 1, 2), (2, 1, 2, 2, 3, 2, 2))],
)
def test_expand(check, make_node_model, rng, dtype, source, target):
    feeds = {"x": numbers(rng, source, dtype)}
    exact(check, make_node_model("Expand", feeds, {"shape": np.array(target)}), feeds)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("repeats", [[2, 1, 3], [1, 1, 1], [1, 2, 1]], ids=str)
def test_tile(check, make_node_model, rng, dtype, repeats):
    feeds = {"x": numbers(rng, (2, 3, 2), dtype)}
    exact(check, make_node_model("Tile", feeds, {"repeats": np.array(repeats)}), feeds)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_depth_to_space(check, make_node_model, rng, block, mode, dtype):
    feeds = {"x": numbers(rng, (2, 2 * block * block, 3, 4), dtype)}
    exact(check, make_node_model("DepthToSpace", feeds, blocksize=block, mode=mode), feeds)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("block", [1, 2, 3])
def test_space_to_depth(check, make_node_model, rng, block, dtype):
    feeds = {"x": numbers(rng, (2, 3, 6, 12), dtype)}
    exact(check, make_node_model("SpaceToDepth", feeds, blocksize=block), feeds)


def test_blocks_behind_convolutions_move_no_axes(check, make_model, rng):
    x = numbers(rng, (1, 4, 2, 3))
    node = helper.make_node("DepthToSpace", ["v"], ["y"], blocksize=2)
    assert exact(check, behind_a_convolution(make_model, rng, x, node), {"x": x}) == {
        "CONV_2D": 1,
        "DEPTH_TO_SPACE": 1,
    }


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint8"])
@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("offset", [None, 0, 1, -2, 9])
def test_trilu(check, make_node_model, rng, offset, upper, dtype):
    feeds = {"x": numbers(rng, (2, 4, 5), dtype)}
    constants = {} if offset is None else {"k": np.array(offset)}
    exact(check, make_node_model("Trilu", feeds, constants, upper=upper), feeds)


def test_trilu_of_other_orders(check, make_model, rng):
    """Behind a convolution the last two ONNX axes are not the last two of the storage."""
    x = numbers(rng, (1, 3, 4, 5))
    trilu = helper.make_node("Trilu", ["v"], ["y"])
    exact(check, behind_a_convolution(make_model, rng, x, trilu), {"x": x})
    turned = [
        helper.make_node("Transpose", ["v"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("Trilu", ["t"], ["y"]),
    ]
    exact(check, behind_a_convolution(make_model, rng, x, *turned), {"x": x})


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes", "reason"),
    [
        ("Dropout", {"ratio": np.float32(0.5), "training": np.array(True)}, {}, "training_mode"),
        ("DepthToSpace", {}, {"blocksize": 2, "mode": "XYZ"}, "mode 'XYZ'"),
    ],
)
def test_refusals(refusals, make_node_model, op_type, constants, attributes, reason):
    model = make_node_model(op_type, {"x": np.ones((1, 4, 2, 2), np.float32)}, constants, **attributes)
    assert reason in refusals(model)[0]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_transposes(check, make_node_model, data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    feeds = {"x": np.arange(np.prod(shape), dtype=np.float32).reshape(shape)}
    perm = data.draw(st.permutations(range(len(shape))))
    exact(check, make_node_model("Transpose", feeds, perm=list(perm)), feeds)
