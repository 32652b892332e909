"""Networks of several operators as integer files: shared scales, islands of floats, borders."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from toolchain.converters.tflite import convert
from toolchain.errors import UnsupportedError, UnsupportedOpsError, UsageError

node = helper.make_node
X = (1, 8, 12, 10)


@pytest.fixture
def weights(rng) -> dict[str, np.ndarray]:
    def some(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    return {
        "w1": some(12, 8, 3, 3),
        "b1": some(12),
        "w2": some(12, 1, 3, 3),
        "b2": some(12),
        "w3": some(8, 12, 1, 1),
        "b3": some(8),
        "six": np.float32(6),
        "zero": np.float32(0),
    }


@pytest.fixture
def feeds(rng) -> dict[str, np.ndarray]:
    return {"x": rng.standard_normal(X).astype(np.float32)}


BLOCK = [
    node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
    node("Clip", ["c1", "zero", "six"], ["r1"], name="clip"),
    node("Conv", ["r1", "w2", "b2"], ["c2"], name="depthwise", pads=[1, 1, 1, 1], group=12),
    node("Relu", ["c2"], ["r2"], name="relu"),
    node("Conv", ["r2", "w3", "b3"], ["c3"], name="last"),
    node("Add", ["c3", "x"], ["y"], name="residual"),
]


def test_a_residual_block(make_model, quantize, side_by_side, weights, feeds):
    found = side_by_side(quantize(make_model(BLOCK, feeds, ["y"], weights), feeds), feeds)
    assert found.converted.ops == {
        "CONV_2D": 2,
        "QUANTIZE": 1,
        "DEPTHWISE_CONV_2D": 1,
        "ADD": 1,
        "DEQUANTIZE": 1,
    }
    assert found.steps <= 2.01
    assert found.parted < 0.03


def test_weights_are_the_integers_of_the_graph(make_model, quantize, weights, feeds):
    from ai_edge_litert.interpreter import Interpreter
    from onnx import numpy_helper

    qdq = quantize(make_model(BLOCK, feeds, ["y"], weights), feeds)
    stored = {value.name: numpy_helper.to_array(value) for value in qdq.graph.initializer}
    interpreter = Interpreter(model_content=convert(ir.serde.deserialize_model(qdq), "int8").data)
    interpreter.allocate_tensors()
    made = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
    for name, perm in (("w1", (0, 2, 3, 1)), ("w2", (1, 2, 3, 0)), ("b1", (0,)), ("b2", (0,))):
        graph = stored[f"{name}.quantized"]
        detail = next(d for key, d in made.items() if key.startswith(f"{name}."))
        np.testing.assert_array_equal(interpreter.get_tensor(detail["index"]), graph.transpose(perm))
        assert detail["dtype"] == graph.dtype


NETWORKS = {
    "concat": (
        [
            node("Conv", ["x", "w1", "b1"], ["a"]),
            node("MaxPool", ["x"], ["m"], kernel_shape=[3, 3]),
            node("Concat", ["a", "m"], ["y"], axis=1),
        ],
        {"CONV_2D", "MAX_POOL_2D", "CONCATENATION"},
    ),
    "split": (
        [node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), node("Mul", ["a", "b"], ["y"])],
        {"SPLIT", "MUL"},
    ),
    "gate": (
        [
            node("GlobalAveragePool", ["x"], ["g"]),
            node("Sigmoid", ["g"], ["s"]),
            node("Mul", ["x", "s"], ["y"]),
        ],
        {"MEAN", "LOGISTIC", "MUL"},
    ),
    "shuffle": (
        [
            node("Reshape", ["x", "to5"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["b", "to4"], ["c"]),
            node("Conv", ["c", "w1"], ["y"]),
        ],
        {"RESHAPE", "TRANSPOSE", "CONV_2D"},
    ),
    "attention": (
        [
            node("Reshape", ["x", "rows"], ["a"]),
            node("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["a", "t"], ["s"]),
            node("Softmax", ["s"], ["p"], axis=-1),
            node("MatMul", ["p", "a"], ["y"]),
        ],
        {"RESHAPE", "TRANSPOSE", "BATCH_MATMUL", "SOFTMAX"},
    ),
    "relu-shared": (
        [node("Add", ["x", "one"], ["a"]), node("Relu", ["a"], ["r"]), node("Mul", ["a", "r"], ["y"])],
        {"ADD", "MUL"},
    ),
    "where": (
        [node("Abs", ["x"], ["a"]), node("Where", ["k", "x", "a"], ["y"])],
        {"LEAKY_RELU", "SELECT_V2"},
    ),
    "fixed-and-free": (
        [
            node("Sigmoid", ["x"], ["s"]),
            node("Mul", ["s", "three"], ["t"]),
            node("Concat", ["s", "x"], ["c"], axis=1),
            node("Concat", ["c", "t"], ["y"], axis=1),
        ],
        {"LOGISTIC", "MUL", "CONCATENATION"},
    ),
    "log": (
        [node("Abs", ["x"], ["a"]), node("Add", ["a", "one"], ["b"]), node("Log", ["b"], ["y"])],
        {"LEAKY_RELU", "ADD", "LOG"},
    ),
}
EXTRA = {
    "to5": np.array([1, 2, 4, 12, 10]),
    "to4": np.array([1, 8, 12, 10]),
    "rows": np.array([1, 8, 120]),
    "one": np.float32(1),
    "three": np.float32(3),
    "k": np.arange(960).reshape(X) % 2 == 0,
}
CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(make_model, quantize, side_by_side, weights, feeds, name):
    nodes, ops = NETWORKS[name]
    for index, made in enumerate(nodes):
        made.name = f"n{index}"
    used = {key for made in nodes for key in made.input}
    constants = {key: value for key, value in {**weights, **EXTRA}.items() if key in used}
    found = side_by_side(quantize(make_model(nodes, feeds, ["y"], constants, 20), feeds), feeds)
    assert set(found.converted.ops) - CONVERSIONS <= ops | {"MAXIMUM"}
    assert not found.converted.report.floats
    assert found.steps <= 2.01
    # The second factor of a product is stored again, with zero point 0.
    assert found.parted < (0.25 if name == "attention" else 0.1)


ATAN = [
    node("Conv", ["x", "w1", "b1"], ["c"], name="conv"),
    node("Atan", ["c"], ["a"], name="angle"),
    node("Conv", ["a", "w4"], ["y"], name="second"),
]


@pytest.fixture
def island(make_model, quantize, weights, feeds, rng):
    constants = {"w1": weights["w1"], "b1": weights["b1"], "w4": weights["w3"]}
    return quantize(make_model(ATAN, feeds, ["y"], constants, 20), feeds)


def test_a_float_operator_in_the_body_is_refused(island):
    with pytest.raises(UnsupportedOpsError) as caught:
        convert(ir.serde.deserialize_model(island), "int8")
    (refusal,) = caught.value.refusals
    assert (refusal.op, refusal.node) == ("Atan", "angle")
    assert "--allow-float Atan" in refusal.hint


@pytest.mark.parametrize("allowed", ["auto", "Atan", "angle"])
def test_a_float_operator_that_is_accepted_is_an_island(island, side_by_side, feeds, allowed):
    found = side_by_side(island, feeds, allow_float=[allowed])
    assert found.steps <= 2.01
    report = found.converted.report
    assert {operator.node for operator in report.floats} == {"angle"}
    assert report.integer["CONV_2D"] == 2
    assert report.conversions == {"QUANTIZE": 2, "DEQUANTIZE": 2}


@pytest.mark.parametrize(("name", "hint"), [("Atn", "Atan"), ("angel", "angle"), ("AUTO", "auto")])
def test_names_that_nothing_has_are_refused(island, name, hint):
    with pytest.raises(UsageError, match=f"--allow-float {name}: no node and no operator") as caught:
        convert(ir.serde.deserialize_model(island), "int8", allow_float=[name])
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["w1", "b1"])
def test_weights_that_are_not_finite_are_the_reason(make_model, quantize, weights, feeds, name):
    broken = weights[name].copy()
    broken.flat[0] = np.nan
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c"], name="broken", kernel_shape=weights["w1"].shape[2:]),
        node("Relu", ["x"], ["r"], name="sound"),
    ]
    constants = {key: weights[key] for key in ("w1", "b1")} | {name: broken}
    qdq = quantize(make_model(nodes, feeds, ["c", "r"], constants), feeds)
    with pytest.raises(UnsupportedOpsError) as caught:
        convert(ir.serde.deserialize_model(qdq), "int8")
    (refusal,) = caught.value.refusals
    assert (refusal.node, refusal.reason) == ("broken", "its weights or its bias hold NaN or infinite values")


@pytest.mark.parametrize("order", [("Atan", "Relu"), ("Relu", "Atan")], ids=["at the input", "at the output"])
def test_operators_that_stay_float_are_named_before_borders_without_scale(make_model, quantize, feeds, order):
    nodes = [node(order[0], ["x"], ["a"], name="first"), node(order[1], ["a"], ["y"], name="second")]
    qdq = quantize(make_model(nodes, feeds), feeds)
    with pytest.raises(UnsupportedOpsError, match="Atan"):
        convert(ir.serde.deserialize_model(qdq), "int8", io="int8")


def test_nodes_are_kept_float_on_request(make_model, quantize, side_by_side, weights, feeds):
    kept = ["depthwise"]
    qdq = quantize(make_model(BLOCK, feeds, ["y"], weights), feeds, kept)
    found = side_by_side(qdq, feeds, kept_float=kept)
    assert [operator.node for operator in found.converted.report.floats] == kept
    assert found.converted.report.integer["CONV_2D"] == 2
    assert found.steps <= 2.01


@pytest.mark.parametrize("io", ["float", "int8", "uint8"])
def test_borders(make_model, quantize, side_by_side, weights, feeds, io):
    found = side_by_side(quantize(make_model(BLOCK, feeds, ["y"], weights), feeds), feeds, io=io)
    (given,), (made,) = found.converted.inputs, found.converted.outputs
    assert {given.dtype, made.dtype} == {"float32" if io == "float" else io}
    assert found.steps <= 2.01
    if io == "float":
        assert given.scale is None
        return
    assert not found.converted.report.conversions
    assert found.converted.ops.get("QUANTIZE", 0) == (2 if io == "uint8" else 0)
    assert [(b.dtype, b.zero_point) for b in found.converted.report.borders] == [
        (io, given.zero_point),
        (io, made.zero_point),
    ]


def test_uint8_numbers_are_those_of_int8_plus_128(make_model, quantize, weights, feeds):
    qdq = quantize(make_model(BLOCK, feeds, ["y"], weights), feeds)
    bytes_, words = (convert(ir.serde.deserialize_model(qdq), "int8", io=io) for io in ("uint8", "int8"))
    for a, b in zip((*bytes_.inputs, *bytes_.outputs), (*words.inputs, *words.outputs), strict=True):
        assert (a.scale, a.zero_point) == (b.scale, b.zero_point + 128)


def test_an_input_without_scale_cannot_be_bytes(make_model, quantize, feeds):
    nodes = [node("Atan", ["x"], ["a"], name="angle"), node("Relu", ["a"], ["y"], name="relu")]
    qdq = quantize(make_model(nodes, feeds), feeds)
    with pytest.raises(UnsupportedError, match="input 'x' has no scale"):
        convert(ir.serde.deserialize_model(qdq), "int8", io="int8", allow_float=["auto"])


def test_quantized_graphs_are_for_integer_files(make_model, quantize, weights, feeds):
    plain = make_model(BLOCK, feeds, ["y"], weights)
    with pytest.raises(UsageError, match="the graph has none"):
        convert(ir.serde.deserialize_model(plain), "int8")
    with pytest.raises(UsageError, match="the graph is quantized"):
        convert(ir.serde.deserialize_model(quantize(plain, feeds)), "fp32")


def test_types_of_borders_are_for_integer_files(make_model, feeds):
    model = make_model([node("Relu", ["x"], ["y"], name="n")], feeds)
    for arguments, message in (({"io": "int8"}, "fp32"), ({"io": "int4"}, "int4")):
        with pytest.raises(UsageError, match=message):
            convert(ir.serde.deserialize_model(model), "fp32", **arguments)


def test_report_counts_what_is_in_the_file(make_model, quantize, weights, feeds):
    qdq = quantize(make_model(BLOCK, feeds, ["y"], weights), feeds)
    report = convert(ir.serde.deserialize_model(qdq), "int8").report
    assert report.integer == {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1, "ADD": 1}
    assert report.conversions == {"QUANTIZE": 1, "DEQUANTIZE": 1}
    elements = {name: array.size for name, array in weights.items()}
    wanted = sum(elements[name] for name in ("w1", "w2", "w3")) + 4 * sum(
        elements[n] for n in ("b1", "b2", "b3")
    )
    assert report.quantized_bytes == wanted
