"""Results that do not depend on the network's inputs, as outputs of the network."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

FILL = numpy_helper.from_array(np.array([3], np.int32))


@pytest.mark.parametrize("attributes", [{}, {"start": 1}, {"end": -1}, {"start": -2, "end": 3}], ids=str)
def test_shape(check, make_node_model, attributes):
    feeds = {"x": np.zeros((2, 3, 4), np.float32)}
    check(make_node_model("Shape", feeds, **attributes), feeds)


def test_size(check, make_node_model):
    feeds = {"x": np.zeros((2, 3, 4), np.float32)}
    check(make_node_model("Size", feeds), feeds)


@pytest.mark.parametrize("attributes", [{}, {"value": FILL}], ids=["zeros", "value"])
def test_constant_of_shape(check, make_model, attributes):
    feeds = {"x": np.ones(2, np.float32)}
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["y"], **attributes),
        helper.make_node("Neg", ["x"], ["z"]),
    ]
    check(make_model(nodes, feeds, ["y", "z"], {"sizes": np.array([2, 3])}), feeds)


@pytest.mark.parametrize("bounds", [(0, 5, 1), (10, 3, -2)])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_range(check, make_model, bounds, dtype):
    feeds = {"x": np.ones(2, np.float32)}
    constants = {name: np.array(value, dtype) for name, value in zip("abc", bounds, strict=True)}
    nodes = [helper.make_node("Range", ["a", "b", "c"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    check(make_model(nodes, feeds, ["y", "z"], constants), feeds)


def test_constant(check, make_model):
    feeds = {"x": np.ones(2, np.float32)}
    nodes = [helper.make_node("Constant", [], ["y"], value_int=3), helper.make_node("Neg", ["x"], ["z"])]
    check(make_model(nodes, feeds, ["y", "z"]), feeds)


def test_results_without_elements_are_refused(refusals, make_node_model):
    model = make_node_model("Shape", {"x": np.zeros((2, 3), np.float32)}, start=2)
    assert "length 0" in refusals(model)[0]
