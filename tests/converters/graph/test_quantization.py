"""QuantizeLinear/DequantizeLinear pairs, noted on values and taken out of the graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from toolchain.converters.graph.quantization import (
    Quantization,
    absorb_quantization,
    is_quantized,
    quantization_of,
)
from toolchain.errors import UnsupportedOpsError

node = helper.make_node


def graph_of(nodes, constants, inputs=("x",), outputs=("y",), shape=(2, 3)) -> ir.Model:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        value_info=[
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for n in nodes for name in n.output
        ],
    )
    return ir.serde.deserialize_model(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]))


def pair(source: str, made: str, scale: str = "s", zero: str = "z", name: str = "p"):
    return [
        node("QuantizeLinear", [source, scale, zero], [f"{made}_q"], name=f"{name}/quantize"),
        node("DequantizeLinear", [f"{made}_q", scale, zero], [made], name=f"{name}/restore"),
    ]


PARAMETERS = {
    "s": np.float32(0.5),
    "z": np.int8(3),
    "s2": np.float32(0.25),
    "z2": np.int8(0),
    "s0": np.float32(0),
    "s9": np.float32(np.inf),
}


def test_a_pair_marks_the_value_before_it():
    model = graph_of([*pair("x", "d"), node("Neg", ["d"], ["y"])], PARAMETERS)
    assert is_quantized(model)
    assert absorb_quantization(model)
    assert [n.op_type for n in model.graph] == ["Neg"]
    found = quantization_of(model.graph.inputs[0])
    assert (found.scale.item(), found.zero_point.item(), found.dtype, found.axis) == (0.5, 3, np.int8, None)
    assert not is_quantized(model)
    assert not absorb_quantization(model)


def test_a_pair_before_an_output_keeps_its_name():
    model = graph_of([node("Neg", ["x"], ["n"]), *pair("n", "y")], PARAMETERS)
    absorb_quantization(model)
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert quantization_of(model.graph.outputs[0]).scale.item() == 0.5


def test_equal_pairs_are_one():
    nodes = [*pair("x", "a"), *pair("x", "b", name="q"), node("Add", ["a", "b"], ["y"])]
    model = graph_of(nodes, PARAMETERS)
    absorb_quantization(model)
    (add,) = model.graph
    assert add.inputs[0] is add.inputs[1] is model.graph.inputs[0]


def test_a_second_pair_with_other_parameters_is_an_identity():
    nodes = [*pair("x", "a"), *pair("x", "b", "s2", "z2", name="q"), node("Add", ["a", "b"], ["y"])]
    model = graph_of(nodes, PARAMETERS)
    absorb_quantization(model)
    assert [n.op_type for n in model.graph] == ["Identity", "Add"]
    again = model.graph[0].outputs[0]
    assert quantization_of(again).scale.item() == 0.25
    assert quantization_of(again.producer().inputs[0]).scale.item() == 0.5


def test_constants_become_floats_with_their_scales():
    stored = np.array([[-127, 5, 1], [3, 0, 127]], np.int8)
    constants = {"w": stored, "ws": np.array([0.5, 0.25], np.float32), "wz": np.zeros(2, np.int8)}
    nodes = [
        node("DequantizeLinear", ["w", "ws", "wz"], ["d"], axis=0, name="restore"),
        node("Add", ["x", "d"], ["y"]),
    ]
    model = graph_of(nodes, constants)
    absorb_quantization(model)
    value = model.graph[0].inputs[1]
    found = quantization_of(value)
    assert found.axis == 0
    real = value.const_value.numpy()
    np.testing.assert_array_equal(real, stored * constants["ws"][:, None])
    np.testing.assert_array_equal(found.stored(real), stored)


BAD = {
    "computed": ([node("Abs", ["x"], ["s1"]), *pair("x", "y", "s1")], "computed at run time"),
    "half a pair": (
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("Cast", ["q"], ["y"], to=1)],
        "read by something else",
    ),
    "unequal": (
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s2", "z"], ["y"], name="restore"),
        ],
        "not that of QuantizeLinear",
    ),
    "zero": (pair("x", "y", "s0"), "not a positive number"),
    "infinite": (pair("x", "y", "s9"), "not a positive number"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_pair_is_refused(case):
    nodes, reason = BAD[case]
    with pytest.raises(UnsupportedOpsError) as caught:
        absorb_quantization(graph_of(nodes, PARAMETERS))
    assert any(reason in refusal.reason for refusal in caught.value.refusals)
    assert all(refusal.hint for refusal in caught.value.refusals)


@given(
    arrays.arrays(np.int8, (3, 4)),
    st.lists(st.floats(2**-10, 2**10, width=32), min_size=4, max_size=4),
    st.lists(st.integers(-128, 127), min_size=4, max_size=4),
)
def test_stored_numbers_come_back(stored, scales, zeros):
    found = Quantization(np.array(scales, np.float32), np.array(zeros, np.int64), np.dtype(np.int8), 1)
    np.testing.assert_array_equal(found.stored(found.real(stored)), stored)


@given(
    st.sampled_from(["int8", "uint8", "int16", "uint16", "int32"]),
    st.floats(2**-20, 1e3, width=32),
    st.data(),
)
def test_narrow_integers_mean_the_same_numbers_as_in_wide_arithmetic(name, scale, data):
    limits = np.iinfo(name)
    numbers = st.integers(int(limits.min), int(limits.max))
    stored = np.array(data.draw(st.lists(numbers, min_size=1, max_size=8)), name)
    zero = data.draw(numbers)
    found = Quantization(np.array([scale], np.float32), np.array([zero]), np.dtype(name))
    expected = ((stored.astype(np.int64) - zero) * np.float64(np.float32(scale))).astype(np.float32)
    np.testing.assert_array_equal(found.real(stored), expected)
