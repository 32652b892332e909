"""Resize against ONNX Runtime: every coordinate mode, sizes and scales, and the operators chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

NO_ROI = np.zeros(0, np.float32)
PROGRAM = ("mlprogram",)


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


def operators(ops):
    return {name: count for name, count in ops.items() if name not in ("const", "reshape", "expand_dims")}


NEAREST = {"upsample_nearest_neighbor": 1}
UPSAMPLE, BILINEAR = {"upsample_bilinear": 1}, {"resize_bilinear": 1}

ROWS = [
    ("nearest", "asymmetric", "floor", (10, 12), NEAREST),
    ("nearest", "asymmetric", "floor", (15, 6), NEAREST),
    ("nearest", "half_pixel", "round_prefer_floor", (10, 12), NEAREST),
    ("nearest", "half_pixel", "round_prefer_floor", (7, 3), {"gather": 2}),
    ("nearest", "half_pixel", "round_prefer_ceil", (3, 4), {"gather": 2}),
    ("nearest", "align_corners", "round_prefer_ceil", (9, 3), {"gather": 2}),
    ("nearest", "asymmetric", "ceil", (10, 12), {"gather": 2}),
    ("linear", "half_pixel", "floor", (10, 12), UPSAMPLE),
    ("linear", "half_pixel", "floor", (3, 13), BILINEAR),
    ("linear", "align_corners", "floor", (10, 12), UPSAMPLE),
    ("linear", "align_corners", "floor", (9, 3), BILINEAR),
    ("linear", "asymmetric", "floor", (9, 13), BILINEAR),
    ("linear", "asymmetric", "floor", (10, 12), BILINEAR),
    ("linear", "pytorch_half_pixel", "floor", (9, 13), BILINEAR),
    ("linear", "pytorch_half_pixel", "floor", (1, 13), {"matmul": 2}),
    ("linear", "half_pixel_symmetric", "floor", (9, 13), BILINEAR),
    ("linear", "align_corners", "floor", (1, 3), {"matmul": 2}),
    ("cubic", "half_pixel", "floor", (10, 4), {"matmul": 2}),
    ("cubic", "align_corners", "floor", (5, 13), {"matmul": 1}),
]


@pytest.mark.parametrize(("mode", "coordinates", "rounding", "size", "ops"), ROWS)
def test_resize_of_pictures(mode, coordinates, rounding, size, ops, check, make_node_model) -> None:
    feeds = picture()
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    made = check(resize_model(make_node_model, feeds, sizes=(1, 3, *size), **attributes), feeds)
    found = operators(made)
    found.pop("linear", None)
    assert {**found, **({"matmul": ops["matmul"]} if "linear" in made else {})} == ops


MODES = ["half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
SIZES = [(4, 8), (5, 2), (3, 7), (6, 3), (2, 9), (1, 4)]


def several(make_model, **attributes):
    """One model that resizes pictures of some heights to others."""
    nodes, outputs, constants = [], [], {"roi": NO_ROI}
    for before, after in SIZES:
        constants[f"to{after}"] = np.array([1, 1, after, 2], np.int64)
        outputs.append(f"y{before}_{after}")
        inputs = [f"x{before}", "roi", "", f"to{after}"]
        nodes.append(
            helper.make_node("Resize", inputs, outputs[-1:], name=f"n{before}_{after}", **attributes)
        )
    feeds = {f"x{before}": picture((1, 1, before, 3))["x"] for before, _ in SIZES}
    return make_model(nodes, feeds, outputs, constants, opset=19), feeds


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_nearest(mode, rounding, check, make_model) -> None:
    named = {"coordinate_transformation_mode": mode, "nearest_mode": rounding, "mode": "nearest"}
    model, feeds = several(make_model, **named)
    check(model, feeds, 0, 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_interpolation(kind, mode, check, make_model) -> None:
    model, feeds = several(make_model, coordinate_transformation_mode=mode, mode=kind)
    check(model, feeds)


SCALED = [
    ({"mode": "linear"}, (2, 2)),
    ({"mode": "linear"}, (1.5, 2)),
    ({"mode": "linear"}, (1.3, 0.7)),
    ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, (1.3, 0.7)),
    ({"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}, (1.3, 0.7)),
    ({"mode": "nearest"}, (1.3, 0.7)),
    ({"mode": "cubic", "cubic_coeff_a": -0.5}, (1.3, 0.7)),
    ({"mode": "cubic", "exclude_outside": 1}, (1.3, 0.7)),
    ({"mode": "linear", "antialias": 1}, (0.6, 0.4)),
    ({"mode": "cubic", "antialias": 1}, (0.6, 0.4)),
]


@pytest.mark.parametrize(("attributes", "scales"), SCALED)
def test_scales(attributes, scales, check, make_node_model) -> None:
    feeds = picture()
    check(resize_model(make_node_model, feeds, scales=(1, 1, *scales), **attributes), feeds)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_axes_and_aspect_ratio(policy, mode, check, make_node_model) -> None:
    feeds = picture()
    named = {"axes": [3, 2], "keep_aspect_ratio_policy": policy, "mode": mode}
    check(resize_model(make_node_model, feeds, sizes=(9, 13), **named), feeds)


@pytest.mark.parametrize("kind", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("value", [0.0, 10.0])
def test_crop_and_resize(kind, value, check, make_node_model) -> None:
    feeds = picture()
    model = resize_model(
        make_node_model,
        feeds,
        sizes=(1, 3, 4, 8),
        roi=[0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2],
        mode=kind,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=value,
    )
    check(model, feeds)


SHAPES = [
    ((2, 3, 7), (2, 3, 14), "nearest", "asymmetric", NEAREST),
    ((2, 3, 7), (2, 3, 14), "linear", "half_pixel", None),
    ((2, 3, 7), (2, 3, 4), "linear", "align_corners", None),
    ((1, 2, 3, 4, 5), (1, 2, 6, 8, 10), "nearest", "asymmetric", {"gather": 3}),
    ((1, 2, 3, 4, 5), (1, 2, 6, 8, 10), "linear", "half_pixel", None),
    ((4, 6), (8, 3), "linear", "half_pixel", None),
    ((6,), (9,), "linear", "half_pixel", None),
    ((2, 4, 3, 5), (2, 6, 3, 5), "nearest", "half_pixel", {"gather": 1}),
    ((1, 2, 1, 5), (1, 2, 1, 10), "linear", "half_pixel", None),
    ((1, 2, 1, 5), (1, 2, 2, 10), "nearest", "asymmetric", NEAREST),
]


@pytest.mark.parametrize(("shape", "target", "mode", "coordinates", "ops"), SHAPES)
def test_other_shapes(shape, target, mode, coordinates, ops, check, make_node_model) -> None:
    feeds = picture(shape)
    rounding = "floor" if coordinates == "asymmetric" else "round_prefer_floor"
    named = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    made = check(resize_model(make_node_model, feeds, sizes=target, **named), feeds)
    assert ops is None or operators(made) == ops


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("size", [(10, 12), (3, 4)])
def test_nearest_of_integers(dtype, size, check, make_node_model, rng) -> None:
    feeds = {"x": rng.integers(0, 100, (1, 3, 5, 6)).astype(dtype)}
    check(resize_model(make_node_model, feeds, sizes=(1, 3, *size), mode="nearest"), feeds, 0, 0)


@pytest.mark.parametrize("op_type", ["Upsample", "Resize"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_operator_sets(op_type, mode, check, make_node_model) -> None:
    feeds = picture()
    scales = {"scales": np.array([1, 1, 2, 3], np.float32)}
    made = check(
        make_node_model(op_type, feeds, scales, opset=9 if op_type == "Upsample" else 10, mode=mode), feeds
    )
    assert operators(made) == (NEAREST if mode == "nearest" else BILINEAR)


DISPUTED = [
    (
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        (1, 1, 1.1, 1.3),
        "align_corners",
    ),
    ({"mode": "linear"}, (1, 1, 1.1, 1), "same size"),
    ({"mode": "cubic", "coordinate_transformation_mode": "pytorch_half_pixel"}, (1, 1, 0.2, 1), "length 1"),
]


@pytest.mark.parametrize(("attributes", "scales", "word"), DISPUTED)
def test_what_runtimes_disagree_on_is_refused(attributes, scales, word, refusals, make_node_model) -> None:
    (reason,) = refusals(resize_model(make_node_model, picture(), scales=scales, **attributes))
    assert word in reason


def test_linear_of_integers_is_refused(refusals, make_node_model) -> None:
    feeds = {"x": np.zeros((1, 3, 5, 6), np.int32)}
    (reason,) = refusals(resize_model(make_node_model, feeds, sizes=(1, 3, 10, 12), mode="linear"))
    assert "mode 'linear' with integers" in reason


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    mode=st.sampled_from(["nearest", "linear"]),
    coordinates=st.sampled_from(["asymmetric", "half_pixel", "align_corners"]),
)
def test_any_size(shape, size, mode, coordinates, check, make_node_model) -> None:
    feeds = picture(shape)
    named = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": "round_prefer_ceil"}
    check(resize_model(make_node_model, feeds, sizes=(*shape[:2], *size), **named), feeds, kinds=PROGRAM)
