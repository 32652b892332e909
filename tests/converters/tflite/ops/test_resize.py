"""Resize against ONNX Runtime: every coordinate mode, sizes and scales, and the operators chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

NO_ROI = np.array([], np.float32)


def resize_model(make_node_model, feeds, sizes=None, scales=None, roi=NO_ROI, opset=19, **attributes):
    """A model of one Resize."""
    constants = {"roi": np.asarray(roi, np.float32)}
    order = ["x", "roi"]
    if scales is not None:
        constants["scales"] = np.array(scales, np.float32)
        order.append("scales")
    else:
        constants["sizes"] = np.array(sizes, np.int64)
        order += ["", "sizes"]
    return make_node_model("Resize", feeds, constants, order=order, opset=opset, **attributes)


def picture(shape=(1, 3, 5, 6)):
    return {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}


NEAREST, BILINEAR = {"RESIZE_NEAREST_NEIGHBOR": 1}, {"RESIZE_BILINEAR": 1}
ROWS = [
    # mode, coordinates, nearest_mode, output height and width, operators
    ("nearest", "asymmetric", "floor", (10, 12), NEAREST),
    ("nearest", "asymmetric", "floor", (15, 6), NEAREST),
    ("nearest", "half_pixel", "round_prefer_floor", (10, 12), NEAREST),
    ("nearest", "half_pixel", "round_prefer_floor", (3, 4), NEAREST),
    ("nearest", "half_pixel", "round_prefer_floor", (7, 3), {"GATHER": 2}),
    ("nearest", "half_pixel", "round_prefer_ceil", (3, 4), NEAREST),
    ("nearest", "align_corners", "round_prefer_ceil", (9, 3), NEAREST),
    ("nearest", "asymmetric", "ceil", (10, 12), {"GATHER": 2}),
    ("nearest", "asymmetric", "ceil", (5, 12), {"GATHER": 1}),
    ("linear", "half_pixel", "floor", (10, 12), BILINEAR),
    ("linear", "half_pixel", "floor", (3, 13), BILINEAR),
    ("linear", "align_corners", "floor", (9, 3), BILINEAR),
    ("linear", "asymmetric", "floor", (9, 13), BILINEAR),
    ("linear", "pytorch_half_pixel", "floor", (9, 13), BILINEAR),
    ("linear", "pytorch_half_pixel", "floor", (1, 13), {"BATCH_MATMUL": 2}),
    ("linear", "half_pixel_symmetric", "floor", (9, 13), BILINEAR),
    ("linear", "align_corners", "floor", (1, 3), BILINEAR),
    ("cubic", "half_pixel", "floor", (10, 4), {"BATCH_MATMUL": 2}),
    ("cubic", "align_corners", "floor", (5, 13), {"BATCH_MATMUL": 1}),
]


@pytest.mark.parametrize(("mode", "coordinates", "rounding", "size", "ops"), ROWS)
def test_resize_of_pictures(mode, coordinates, rounding, size, ops, check, make_node_model):
    feeds = picture()
    model = resize_model(
        make_node_model,
        feeds,
        sizes=(1, 3, *size),
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )
    made = check(model, feeds)
    assert "TRANSPOSE" not in made
    assert {name: made.get(name) for name in ops} == ops


MODES = ["half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
# ONNX Runtime's float32 coordinates fall below whole numbers there: (length, size).
INEXACT = {
    ("half_pixel", "floor"): {(7, 1)},
    ("half_pixel_symmetric", "floor"): {(3, 1), (3, 11), (5, 3), (6, 2), (7, 1), (9, 3), (9, 5)},
}


def every_size(make_model, sizes, **attributes):
    """One model that resizes pictures of some heights to others.

    Args:
        make_model: fixture.
        sizes: pairs (height, new height).
        **attributes: of every Resize.
    """
    nodes, outputs, constants = [], [], {"roi": NO_ROI}
    for before, after in sizes:
        constants[f"to{after}"] = np.array([1, 1, after, 2], np.int64)
        outputs.append(f"y{before}_{after}")
        inputs = [f"x{before}", "roi", "", f"to{after}"]
        nodes.append(
            helper.make_node("Resize", inputs, outputs[-1:], name=f"n{before}_{after}", **attributes)
        )
    feeds = {f"x{before}": picture((1, 1, before, 3))["x"] for before in dict(sizes)}
    return make_model(nodes, feeds, outputs, constants), feeds


ALL_SIZES = [(before, after) for before in range(1, 10) for after in range(1, 13)]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_nearest_of_every_size(mode, rounding, check, make_model):
    sizes = [pair for pair in ALL_SIZES if pair not in INEXACT.get((mode, rounding), ())]
    attributes = {"coordinate_transformation_mode": mode, "nearest_mode": rounding, "mode": "nearest"}
    model, feeds = every_size(make_model, sizes, **attributes)
    check(model, feeds, rtol=0, atol=0, layouts=("nhwc",))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_interpolation_of_every_size(kind, mode, check, make_model):
    # To length 1 runtimes disagree.
    refused = mode == "pytorch_half_pixel" and kind == "cubic"
    sizes = [pair for pair in ALL_SIZES if pair[1] > 1 or not refused]
    model, feeds = every_size(make_model, sizes, coordinate_transformation_mode=mode, mode=kind)
    check(model, feeds, rtol=1e-4, atol=1e-5, layouts=("nhwc",))


SCALED = [
    (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        (2, 2),
        NEAREST,
    ),
    ({"mode": "linear"}, (2, 2), BILINEAR),
    ({"mode": "linear"}, (1.5, 2), BILINEAR),
    ({"mode": "linear"}, (1.3, 0.7), {"BATCH_MATMUL": 2}),
    ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, (1.3, 0.7), {"BATCH_MATMUL": 2}),
    (
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
        (1.3, 0.7),
        {"BATCH_MATMUL": 2},
    ),
    ({"mode": "nearest"}, (1.3, 0.7), {"GATHER": 2}),
    ({"mode": "cubic", "cubic_coeff_a": -0.5}, (1.3, 0.7), {"BATCH_MATMUL": 2}),
    ({"mode": "cubic", "exclude_outside": 1}, (1.3, 0.7), {"BATCH_MATMUL": 2}),
    ({"mode": "linear", "antialias": 1}, (0.6, 0.4), {"BATCH_MATMUL": 2}),
    ({"mode": "linear", "antialias": 1}, (2, 3), BILINEAR),
    ({"mode": "cubic", "antialias": 1}, (0.6, 0.4), {"BATCH_MATMUL": 2}),
]


@pytest.mark.parametrize(("attributes", "scales", "ops"), SCALED)
def test_scales(attributes, scales, ops, check, make_node_model):
    feeds = picture((2, 3, 8, 11))
    made = check(resize_model(make_node_model, feeds, scales=(1, 1, *scales), **attributes), feeds, rtol=1e-4)
    assert {name: made.get(name) for name in ops} == ops


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_axes_and_aspect_ratio(policy, mode, check, make_node_model):
    feeds = picture((1, 3, 8, 10))
    model = resize_model(
        make_node_model, feeds, sizes=(7, 6), axes=[3, 2], mode=mode, keep_aspect_ratio_policy=policy
    )
    check(model, feeds)


@pytest.mark.parametrize("kind", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("value", [0.0, 10.0])
def test_crop_and_resize(kind, value, check, make_node_model):
    feeds = picture((1, 3, 8, 10))
    model = resize_model(
        make_node_model,
        feeds,
        sizes=(1, 3, 5, 7),
        roi=(0, 0, 0.4, -0.1, 1, 1, 0.8, 1.1),
        mode=kind,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=value,
    )
    check(model, feeds)


SHAPES = [
    ((2, 3, 7), (2, 3, 14), "nearest", "asymmetric", NEAREST),
    ((2, 3, 7), (2, 3, 14), "linear", "half_pixel", BILINEAR),
    ((2, 3, 7), (2, 3, 4), "linear", "align_corners", BILINEAR),
    ((1, 2, 3, 4, 5), (1, 2, 6, 8, 10), "nearest", "asymmetric", {"GATHER": 3}),
    ((1, 2, 3, 4, 5), (1, 2, 6, 8, 10), "linear", "half_pixel", {"BATCH_MATMUL": 3}),
    ((4, 6), (8, 3), "linear", "half_pixel", {"BATCH_MATMUL": 2}),
    ((4, 6), (8, 3), "nearest", "half_pixel", {"GATHER": 2}),
    ((2, 4, 3, 5), (2, 6, 3, 5), "nearest", "half_pixel", {"GATHER": 1}),
    ((2, 4, 6, 3), (2, 8, 3, 3), "nearest", "half_pixel", {"GATHER": 2}),
]


@pytest.mark.parametrize(("shape", "target", "mode", "coordinates", "ops"), SHAPES)
def test_other_shapes(shape, target, mode, coordinates, ops, check, make_node_model):
    feeds = picture(shape)
    rounding = "floor" if coordinates == "asymmetric" else "round_prefer_floor"
    model = resize_model(
        make_node_model,
        feeds,
        sizes=target,
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )
    made = check(model, feeds)
    assert "TRANSPOSE" not in made
    assert {name: made.get(name) for name in ops} == ops


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
@pytest.mark.parametrize("size", [(10, 12), (3, 4)])
def test_nearest_of_integers(dtype, size, check, make_node_model, rng):
    feeds = {"x": rng.integers(0, 100, (1, 3, 5, 6)).astype(dtype)}
    check(resize_model(make_node_model, feeds, sizes=(1, 3, *size)), feeds, rtol=0, atol=0)


@pytest.mark.parametrize("op_type", ["Upsample", "Resize"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_operator_sets(op_type, mode, check, make_node_model):
    feeds = picture((1, 3, 4, 6))
    scales = {"scales": np.array([1, 1, 2, 3], np.float32)}
    opset = 9 if op_type == "Upsample" else 10
    made = check(make_node_model(op_type, feeds, scales, opset=opset, mode=mode), feeds)
    assert made == (NEAREST if mode == "nearest" else BILINEAR)


def test_inside_a_cnn_nothing_is_moved(check, make_model):
    feeds = picture((1, 3, 8, 8))
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2], name="pool"),
        helper.make_node("Resize", ["p", "roi", "scales"], ["r"], mode="cubic", name="resize"),
        helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[2, 2], strides=[2, 2], name="pool2"),
    ]
    constants = {"roi": NO_ROI, "scales": np.array([1, 1, 2, 2], np.float32)}
    made = check(make_model(nodes, feeds, constants=constants), feeds)
    assert "TRANSPOSE" not in made


DISPUTED = [
    (
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        (1, 1, 1.3, 0.7),
        "align_corners",
    ),
    ({"mode": "linear"}, (1, 1, 1.1, 1), "same size"),
    ({"mode": "cubic", "coordinate_transformation_mode": "pytorch_half_pixel"}, (1, 1, 0.125, 1), "length 1"),
]


@pytest.mark.parametrize(("attributes", "scales", "word"), DISPUTED)
def test_what_runtimes_disagree_on_is_refused(attributes, scales, word, refusals, make_node_model):
    model = resize_model(make_node_model, picture((2, 3, 8, 11)), scales=scales, **attributes)
    assert word in refusals(model)[0]


def test_linear_of_integers_is_refused(refusals, make_node_model):
    feeds = {"x": np.zeros((1, 3, 5, 6), np.uint8)}
    model = resize_model(make_node_model, feeds, sizes=(1, 3, 10, 12), mode="linear")
    assert "linear" in refusals(model)[0]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    scales=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    mode=st.sampled_from(["nearest", "linear"]),
    coordinates=st.sampled_from(MODES),
)
def test_whole_scales(shape, scales, mode, coordinates, check, make_node_model):
    feeds = picture(shape)
    model = resize_model(
        make_node_model, feeds, scales=(1, 1, *scales), mode=mode, coordinate_transformation_mode=coordinates
    )
    check(model, feeds, layouts=("nhwc",))
