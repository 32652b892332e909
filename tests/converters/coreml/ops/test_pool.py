"""Pooling against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

PROGRAM = ("mlprogram",)
BOTH = ("mlprogram", "neuralnetwork")
CEIL = {"ceil_mode": 1}
COUNTED = {"count_include_pad": 1}
SQUARE = {"kernel_shape": [3, 3], "strides": [2, 2]}
PADDED = {**SQUARE, "pads": [1, 1, 1, 1]}

ROWS = [
    ({"kernel_shape": [2, 2], "strides": [2, 2]}, (1, 3, 8, 6)),
    (PADDED, (2, 3, 8, 9)),
    ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, (1, 3, 7, 9)),
    ({"kernel_shape": [3, 2], "strides": [1, 3], "pads": [2, 0, 1, 1]}, (1, 2, 5, 7)),
    ({**SQUARE, **CEIL}, (1, 2, 8, 8)),
    ({"kernel_shape": [2, 2], "strides": [2, 2], **CEIL}, (1, 2, 7, 8)),
    ({**PADDED, **CEIL}, (1, 2, 6, 7)),
    ({**SQUARE, "auto_pad": "SAME_UPPER"}, (1, 2, 6, 7)),
    ({**SQUARE, "auto_pad": "SAME_LOWER"}, (1, 2, 6, 7)),
    ({**SQUARE, "auto_pad": "VALID"}, (1, 2, 6, 7)),
    ({"kernel_shape": [2, 2], "dilations": [2, 2]}, (1, 2, 6, 7)),
    ({"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 1], "pads": [1, 1, 2, 0]}, (1, 2, 9, 7)),
    ({"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, (2, 3, 9)),
    ({"kernel_shape": [2], "dilations": [3]}, (2, 3, 9)),
    ({"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}, (2, 3, 4, 6, 8)),
    ({"kernel_shape": [3, 2, 3], "strides": [1, 2, 2], "pads": [1, 0, 1, 1, 1, 0]}, (1, 2, 4, 6, 5)),
]
AVERAGE_ROWS = [
    *ROWS,
    ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], **COUNTED}, (1, 3, 8, 6)),
    ({"kernel_shape": [3, 4], "strides": [2, 1], "pads": [1, 3, 0, 2], **COUNTED}, (2, 3, 8, 6)),
    ({**PADDED, **CEIL, **COUNTED}, (1, 2, 8, 8)),
    ({**SQUARE, "auto_pad": "SAME_UPPER", **COUNTED}, (1, 2, 6, 7)),
    ({"kernel_shape": [3], "strides": [2], "pads": [1, 2], **COUNTED}, (2, 3, 9)),
    (
        {
            "kernel_shape": [3, 2, 3],
            "strides": [2, 2, 2],
            "pads": [1, 0, 1, 1, 0, 1],
            **CEIL,
            **COUNTED,
        },
        (1, 2, 4, 6, 5),
    ),
    ({"kernel_shape": [2, 3], "dilations": [2, 1], "strides": [1, 2], "pads": [1, 1, 0, 1]}, (1, 3, 6, 7)),
]


def kinds_of(shape):
    """Neural networks have windows over three axes since iOS 14 only."""
    return PROGRAM if len(shape) == 5 else BOTH


@pytest.mark.parametrize(("attributes", "shape"), ROWS)
def test_max_pool(attributes, shape, check, make_node_model, rng) -> None:
    # Below zero, so that padding with zeros would be seen.
    feeds = {"x": rng.normal(-5, 1, shape).astype(np.float32)}
    check(make_node_model("MaxPool", feeds, **attributes), feeds, 0, 0, kinds_of(shape))


@pytest.mark.parametrize(("attributes", "shape"), AVERAGE_ROWS)
def test_average_pool(attributes, shape, check, make_node_model, rng) -> None:
    feeds = {"x": rng.normal(2, 1, shape).astype(np.float32)}
    check(make_node_model("AveragePool", feeds, opset=19, **attributes), feeds, kinds=kinds_of(shape))


def test_pools_are_one_operator(check, make_node_model, rng) -> None:
    feeds = {"x": rng.normal(size=(1, 3, 8, 8)).astype(np.float32)}
    for op_type, name in (("MaxPool", "max_pool"), ("AveragePool", "avg_pool")):
        ops = check(make_node_model(op_type, feeds, **PADDED), feeds)
        assert {op: count for op, count in ops.items() if op != "const"} == {name: 1}


INDEXED = [
    ({"kernel_shape": [2, 2], "strides": [2, 2]}, (2, 3, 6, 8)),
    (PADDED, (1, 2, 7, 6)),
    ({"kernel_shape": [3, 2], "dilations": [1, 2], "pads": [1, 0, 1, 1]}, (1, 2, 5, 7)),
    ({"kernel_shape": [2, 2], "strides": [2, 2], "storage_order": 1}, (2, 3, 6, 8)),
    ({"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, (2, 3, 9)),
]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("attributes", "shape"), INDEXED)
def test_max_pool_with_indices(attributes, shape, ties, check, make_node_model, rng) -> None:
    x = rng.integers(-3, 0, shape) if ties else rng.normal(size=shape)
    feeds = {"x": x.astype(np.float32)}
    model = make_node_model("MaxPool", feeds, outputs=("y", "indices"), **attributes)
    check(model, feeds, 0, 0)


def test_indices_of_three_axes(check, make_node_model, rng) -> None:
    feeds = {"x": rng.normal(size=(2, 2, 4, 4, 6)).astype(np.float32)}
    named = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}
    model = make_node_model("MaxPool", feeds, outputs=("y", "indices"), **named)
    check(model, feeds, 0, 0, PROGRAM)


@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (1, 2, 8)])
def test_unpool_what_was_pooled(shape, check, make_model, rng) -> None:
    feeds = {"x": rng.normal(size=shape).astype(np.float32)}
    window = {"kernel_shape": [2] * (len(shape) - 2), "strides": [2] * (len(shape) - 2)}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p", "i"], name="pool", **window),
        helper.make_node("MaxUnpool", ["p", "i"], ["y"], name="unpool", **window),
    ]
    check(make_model(nodes, feeds), feeds, 0, 0)


GLOBAL = [
    ("GlobalAveragePool", {}),
    ("GlobalMaxPool", {}),
    ("GlobalLpPool", {}),
    ("GlobalLpPool", {"p": 1}),
    ("GlobalLpPool", {"p": 3}),
]


@pytest.mark.parametrize(("op_type", "attributes"), GLOBAL)
@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 5, 7, 6), (1, 2, 3, 4, 5)])
def test_global_pool(op_type, attributes, shape, check, make_node_model, rng) -> None:
    feeds = {"x": rng.normal(-3, 1, shape).astype(np.float32)}
    check(make_node_model(op_type, feeds, **attributes), feeds)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, (1, 3, 6, 8)),
        ({"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 1, 1]}, (1, 3, 6, 8)),
        ({"kernel_shape": [3], "auto_pad": "SAME_UPPER"}, (1, 3, 6)),
    ],
)
def test_lp_pool(p, attributes, shape, check, make_node_model, rng) -> None:
    feeds = {"x": rng.normal(size=shape).astype(np.float32)}
    check(make_node_model("LpPool", feeds, p=p, **attributes), feeds)


def test_dilated_lp_pool(check, make_node_model, rng) -> None:
    feeds = {"x": rng.normal(size=(1, 3, 6, 8)).astype(np.float32)}
    check(make_node_model("LpPool", feeds, kernel_shape=[2, 2], dilations=[2, 1]), feeds)


@pytest.mark.parametrize(
    ("op_type", "attributes", "shape", "kind", "word"),
    [
        ("LpPool", {"kernel_shape": [2, 2], "p": 0}, (1, 1, 4, 4), "mlprogram", "p=0"),
        ("GlobalLpPool", {"p": 0}, (1, 1, 4, 4), "mlprogram", "p=0"),
        (
            "AveragePool",
            {"kernel_shape": [2, 2, 2]},
            (1, 1, 4, 4, 4),
            "neuralnetwork",
            "three spatial axes",
        ),
        (
            "AveragePool",
            {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1], "ceil_mode": 1},
            (1, 1, 4, 4),
            "mlprogram",
            "ceil_mode",
        ),
    ],
)
def test_refusals(op_type, attributes, shape, kind, word, refusals, make_node_model) -> None:
    model = make_node_model(op_type, {"x": np.zeros(shape, np.float32)}, **attributes)
    (reason,) = refusals(model, kind)
    assert word in reason


def test_indices_of_large_windows_are_refused(refusals, make_node_model) -> None:
    feeds = {"x": np.zeros((1, 1, 20, 20), np.float32)}
    model = make_node_model("MaxPool", feeds, outputs=("y", "indices"), kernel_shape=[9, 9])
    (reason,) = refusals(model)
    assert "kernel_shape [9, 9]" in reason


def test_unpool_to_another_shape_is_refused(refusals, make_node_model) -> None:
    feeds = {"x": np.zeros((1, 1, 2, 2), np.float32), "i": np.zeros((1, 1, 2, 2), np.int64)}
    shape = {"shape": np.array([1, 1, 5, 5], np.int64)}
    model = make_node_model("MaxUnpool", feeds, shape, kernel_shape=[2, 2], strides=[2, 2])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [1, 1, 5, 5]))
    (reason,) = refusals(model)
    assert "output_shape" in reason


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), op_type=st.sampled_from(["MaxPool", "AveragePool"]), ceil=st.booleans())
def test_any_window(data, op_type, ceil, check, make_node_model) -> None:
    kernel = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=2))
    strides = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    pads = [data.draw(st.integers(0, size - 1)) for size in kernel] * 2
    # ONNX Runtime drops a last window that starts in the padding, the definition does not.
    ceil = ceil and not any(pads)
    feeds = {"x": np.random.default_rng(0).normal(-2, 1, (1, 2, 6, 7)).astype(np.float32)}
    named = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": int(ceil)}
    if op_type == "AveragePool":
        named["count_include_pad"] = data.draw(st.sampled_from([0, 1]))
    check(make_node_model(op_type, feeds, opset=22, **named), feeds, kinds=PROGRAM)
