"""Pictures sampled at computed places."""

from __future__ import annotations

import numpy as np
import pytest

PROGRAM = ("mlprogram",)
X = np.random.default_rng(1).standard_normal((2, 3, 5, 7)).astype(np.float32)
# Beyond the borders too, and far beyond them.
GRID = np.random.default_rng(2).uniform(-2.5, 2.5, (2, 4, 6, 2)).astype(np.float32)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("mode", "opset"), [("bilinear", 16), ("linear", 20), ("nearest", 20)])
def test_grid_sample(check, make_node_model, mode, opset, padding, corners):
    feeds = {"x": X, "grid": GRID}
    model = make_node_model(
        "GridSample", feeds, opset=opset, mode=mode, padding_mode=padding, align_corners=corners
    )
    assert check(model, feeds, kinds=PROGRAM) == {"resample": 1}


@pytest.mark.parametrize("corners", [0, 1])
def test_a_grid_of_every_pixel_returns_the_picture(check, make_node_model, corners):
    height, width = X.shape[2:]
    rows, columns = (np.arange(size, dtype=np.float32) for size in (height, width))
    if corners:
        rows, columns = 2 * rows / (height - 1) - 1, 2 * columns / (width - 1) - 1
    else:
        rows, columns = (2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1
    grid = np.stack(np.broadcast_arrays(columns, rows[:, None]), -1)[None].repeat(2, 0)
    model = make_node_model("GridSample", {"x": X}, {"grid": grid}, opset=20, align_corners=corners)
    check(model, {"x": X}, kinds=PROGRAM)


@pytest.mark.parametrize("opset", [10, 16])
@pytest.mark.parametrize(("ratio", "scale"), [(1, 1.0), (2, 0.5), (3, 0.25)])
def test_roi_align(check, make_node_model, opset, ratio, scale):
    corners = np.array([[0, 0, 6, 4], [1.3, 2.2, 3.1, 2.9], [-4, -3, 5, 11], [2, 1, 2.1, 1.1]], np.float32)
    feeds = {"x": X[:1], "rois": corners / np.float32(scale)}
    sizes = {"output_height": 3, "output_width": 2, "sampling_ratio": ratio, "spatial_scale": scale}
    model = make_node_model("RoiAlign", feeds, {"batch": np.zeros(4, np.int64)}, opset=opset, **sizes)
    check(model, feeds, kinds=PROGRAM)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [({"mode": "cubic"}, "mode 'cubic'"), ({"padding_mode": "wrap"}, "padding_mode 'wrap'")],
)
def test_refused_grids(refusals, make_node_model, attributes, reason):
    model = make_node_model("GridSample", {"x": X, "grid": GRID}, opset=20, **attributes)
    assert reason in refusals(model)[0]


def test_refused_volumes_and_integers(refusals, make_node_model):
    feeds = {"x": np.ones((1, 1, 2, 2, 2), np.float32), "grid": np.ones((1, 2, 2, 2, 3), np.float32)}
    assert "5 axes" in refusals(make_node_model("GridSample", feeds, opset=20))[0]
    assert (
        "integers"
        in refusals(make_node_model("GridSample", {"x": X.astype(np.int32), "grid": GRID}, opset=20))[0]
    )


def test_neural_networks_have_no_layer(refusals, make_node_model):
    model = make_node_model("GridSample", {"x": X, "grid": GRID}, opset=20)
    assert "resample" in refusals(model, "neuralnetwork")[0]


@pytest.mark.parametrize(
    ("attributes", "batch", "reason"),
    [
        ({"sampling_ratio": 2, "mode": "max"}, 1, "mode 'max'"),
        ({}, 1, "sampling_ratio"),
        ({"sampling_ratio": 2}, 2, "2 pictures"),
    ],
)
def test_refused_regions(refusals, make_node_model, attributes, batch, reason):
    feeds = {"x": X[:batch], "rois": np.ones((1, 4), np.float32)}
    model = make_node_model("RoiAlign", feeds, {"batch": np.zeros(1, np.int64)}, **attributes)
    assert reason in refusals(model)[0]
