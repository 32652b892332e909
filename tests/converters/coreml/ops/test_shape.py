"""Operators that rearrange or repeat elements."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

TYPES = ["float32", "int64", "bool"]
PROGRAM = ("mlprogram",)


def numbers(rng, shape, dtype="float32") -> np.ndarray:
    return np.asarray(rng.integers(0, 2 if dtype == "bool" else 100, shape)).astype(dtype)


def exact(check, model, feeds, **options):
    return check(model, feeds, rtol=0, atol=0, **options)


def identifier(text: str) -> str:
    """A name that Core ML keeps."""
    return re.sub(r"\W", "_", text)


def side_by_side(make_model, feeds, rows):
    """One model with an output for each row: (operator, inputs, constants, attributes)."""
    nodes, held = [], {}
    for name, (op_type, inputs, constants, attributes) in rows.items():
        own = {identifier(f"{constant} of {name}"): array for constant, array in constants.items()}
        nodes.append(helper.make_node(op_type, [*inputs, *own], [identifier(name)], **attributes))
        held |= own
    return make_model(nodes, feeds, [node.output[0] for node in nodes], held)


@pytest.mark.parametrize("dtype", TYPES)
def test_concat(check, make_model, rng, dtype):
    feeds = {name: numbers(rng, (2, 3, 4), dtype) for name in "abc"}
    rows = {f"axis {axis}": ("Concat", ["a", "b", "c"], {}, {"axis": axis}) for axis in (0, 1, -1)}
    exact(check, side_by_side(make_model, feeds, rows), feeds)


def test_concat_with_constants_and_nothing(check, make_node_model, rng):
    feeds = {"a": numbers(rng, (2, 1, 2, 3, 2))}
    constants = {"k": numbers(rng, (2, 1, 2, 1, 2)), "nothing": numbers(rng, (2, 1, 2, 0, 2))}
    exact(check, make_node_model("Concat", feeds, constants, axis=3), feeds)


@pytest.mark.parametrize("dtype", TYPES)
def test_transpose_is_one_operator(check, make_model, rng, dtype):
    feeds, rows = {}, {}
    for perm in ([1, 0], [2, 0, 1], [0, 2, 3, 1], [4, 2, 0, 1, 3]):
        name = f"x{len(perm)}"
        feeds[name] = numbers(rng, (2, 3, 2, 4, 2)[: len(perm)], dtype)
        rows[f"perm {perm}"] = ("Transpose", [name], {}, {"perm": perm})
    assert exact(check, side_by_side(make_model, feeds, rows), feeds)["transpose"] == len(rows)


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
    "unsqueeze": ("Unsqueeze", (3, 4), {"axes": np.array([-1, 0])}, {}),
    "identity": ("Identity", (2, 3, 4), {}, {}),
    "dropout": ("Dropout", (2, 3, 4), {}, {}),
}


@pytest.mark.parametrize("dtype", TYPES)
def test_views(check, make_model, rng, dtype):
    kept = {name: row for name, row in ROWS.items() if dtype == "float32" or row[0] != "Dropout"}
    shapes = {shape for _, shape, _, _ in kept.values()}
    feeds = {"x" + "".join(map(str, shape)): numbers(rng, shape, dtype) for shape in sorted(shapes)}
    rows = {
        name: (op_type, ["x" + "".join(map(str, shape))], constants, attributes)
        for name, (op_type, shape, constants, attributes) in kept.items()
    }
    exact(check, side_by_side(make_model, feeds, rows), feeds)


@pytest.mark.parametrize(("op_type", "axes"), [("Squeeze", [0, 2]), ("Unsqueeze", [0, 3])])
def test_axes_as_an_attribute(check, make_node_model, rng, op_type, axes):
    feeds = {"x": numbers(rng, (1, 3, 1))}
    exact(check, make_node_model(op_type, feeds, opset=11, axes=axes), feeds)


def test_scalars_on_the_way(check, make_model, rng):
    """(1,) -> () -> (1, 1) -> () -> (2, 3)."""
    feeds = {"x": numbers(rng, (1,))}
    nodes = [
        helper.make_node("Squeeze", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Unsqueeze", ["b", "axes"], ["c"]),
        helper.make_node("Neg", ["c"], ["d"]),
        helper.make_node("Reshape", ["d", "none"], ["e"]),
        helper.make_node("Neg", ["e"], ["f"]),
        helper.make_node("Expand", ["f", "shape"], ["y"]),
    ]
    constants = {"axes": np.array([0, 1]), "none": np.array([], np.int64), "shape": np.array([2, 3])}
    exact(check, make_model(nodes, feeds, constants=constants), feeds)


def test_mask_of_dropout(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (2, 3))}
    exact(check, make_node_model("Dropout", feeds, outputs=("y", "mask")), feeds)


@pytest.mark.parametrize("dtype", TYPES)
def test_expand_and_tile(check, make_model, rng, dtype):
    feeds = {"x": numbers(rng, (3, 1), dtype), "long": numbers(rng, (1, 2, 1, 3, 1), dtype)}
    rows = {
        "expand": ("Expand", ["x"], {"shape": np.array([3, 4])}, {}),
        "expand to more axes": ("Expand", ["x"], {"shape": np.array([2, 1, 6])}, {}),
        "expand five axes": ("Expand", ["long"], {"shape": np.array([2, 1, 2, 3, 2])}, {}),
        "tile": ("Tile", ["x"], {"repeats": np.array([2, 3])}, {}),
        "tile nothing": ("Tile", ["x"], {"repeats": np.array([1, 1])}, {}),
        "tile five axes": ("Tile", ["long"], {"repeats": np.array([1, 2, 3, 1, 2])}, {}),
    }
    exact(check, side_by_side(make_model, feeds, rows), feeds)


@pytest.mark.parametrize("dtype", TYPES)
def test_blocks(check, make_model, rng, dtype):
    """Channels to blocks of pixels and back."""
    feeds = {"x": numbers(rng, (2, 36, 3, 4), dtype), "wide": numbers(rng, (2, 3, 6, 12), dtype)}
    rows = {
        f"{mode} {block}": ("DepthToSpace", ["x"], {}, {"blocksize": block, "mode": mode})
        for mode in ("DCR", "CRD")
        for block in (1, 2, 3)
    }
    rows |= {f"back {block}": ("SpaceToDepth", ["wide"], {}, {"blocksize": block}) for block in (1, 2, 3)}
    exact(check, side_by_side(make_model, feeds, rows), feeds)


def test_blocks_of_floats_are_one_operator(check, make_node_model, rng):
    feeds = {"x": numbers(rng, (1, 8, 2, 2))}
    model = make_node_model("DepthToSpace", feeds, blocksize=2, mode="CRD")
    assert exact(check, model, feeds, kinds=PROGRAM) == {"pixel_shuffle": 1}


@pytest.mark.parametrize("dtype", TYPES)
def test_trilu(check, make_model, rng, dtype):
    feeds = {"x": numbers(rng, (2, 4, 5), dtype)}
    rows = {
        f"{'upper' if upper else 'lower'} {offset}": (
            "Trilu",
            ["x"],
            {} if offset is None else {"k": np.array(offset)},
            {"upper": upper},
        )
        for upper in (0, 1)
        for offset in (None, 0, 1, -2, 9)
    }
    exact(check, side_by_side(make_model, feeds, rows), feeds)


def test_triangles_remove_infinities(check, make_node_model):
    feeds = {"x": np.array([[-np.inf, np.nan], [np.inf, np.nan]], np.float32)}
    exact(check, make_node_model("Trilu", feeds, {"k": np.array(1)}), feeds)


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes", "reason"),
    [
        ("Dropout", {"ratio": np.float32(0.5), "training": np.array(True)}, {}, "training_mode"),
        ("DepthToSpace", {}, {"blocksize": 2, "mode": "XYZ"}, "mode 'XYZ'"),
        ("Unsqueeze", {"axes": np.array([0, 1])}, {}, "6 axes"),
    ],
)
def test_refusals(refusals, make_node_model, op_type, constants, attributes, reason):
    model = make_node_model(op_type, {"x": np.ones((1, 4, 2, 2), np.float32)}, constants, **attributes)
    assert reason in refusals(model)[0]


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_chains(check, make_model, data):
    """Transpose, reshape and transpose back in any order of the axes."""
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    perm = data.draw(st.permutations(range(len(shape))))
    moved = [shape[axis] for axis in perm]
    cut = data.draw(st.integers(0, len(shape)))
    target = [int(np.prod(moved[:cut])), *moved[cut:]][:5]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=list(perm)),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "shape"], ["c"]),
        helper.make_node("Abs", ["c"], ["d"]),
        helper.make_node("Transpose", ["d"], ["y"]),
    ]
    if np.prod(target) == x.size:
        model = make_model(nodes, {"x": x}, constants={"shape": np.array(target)})
        exact(check, model, {"x": x}, kinds=PROGRAM)
