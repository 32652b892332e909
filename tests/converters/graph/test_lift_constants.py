"""Constant nodes become initializers of the same name."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from toolchain.converters.graph.lift_constants import lift_constants


@pytest.mark.parametrize(
    ("attribute", "cast"),
    [
        ("value = float[2] {1, 2}", ""),
        ("value_float = 2.0", ""),
        ("value_floats = [1.0, 2.0]", ""),
        ("value_int = 3", "<to=1>"),
        ("value_ints = [3, 4]", "<to=1>"),
    ],
)
def test_every_form_is_lifted(graphs, attribute, cast):
    text = f"(float[2] x) => (float[2] y) {{ k = Constant<{attribute}>() c = Cast<to=1>(k) y = Mul(x, c) }}"
    before = graphs.build(text)
    model = graphs.parse(before)
    assert lift_constants(model)
    assert not lift_constants(model)
    assert "k" in model.graph.initializers
    graphs.assert_same(before, model)


def test_a_constant_output_stays_the_output_of_a_node(graphs):
    before = graphs.build(
        "(float[2] x) => (float[2] y, float[2] z) { y = Constant<value_floats=[1.0, 2.0]>() z = Add(x, y) }"
    )
    model = graphs.parse(before)
    assert lift_constants(model)
    assert graphs.ops(model) == {"Identity": 1, "Add": 1}
    graphs.assert_same(before, model)


def test_strings_and_contradictory_constants_stay(graphs):
    before = graphs.build("(float[2] x) => (float[2] y) { y = Neg(x) }")
    before.graph.node.append(onnx.helper.make_node("Constant", [], ["s"], value_string="text"))
    before.graph.node.append(onnx.helper.make_node("Constant", [], ["t"], value_float=1.0, value_int=2))
    model = ir.serde.deserialize_model(before)
    assert not lift_constants(model)
    assert graphs.ops(model) == {"Neg": 1, "Constant": 2}


def test_a_name_that_an_initializer_has_is_not_overwritten(graphs):
    before = graphs.build("(float[2] x) => (float[2] y) { k = Constant<value_float=2.0>() y = Mul(x, k) }")
    model = graphs.parse(before)
    other = graphs.parse(
        graphs.build("(float[2] x) => (float[2] y) { y = Mul(x, k) }", k=np.ones(2, np.float32))
    )
    spare = other.graph.initializers.pop("k")
    model.graph.register_initializer(spare)
    assert lift_constants(model)
    assert np.array_equal(spare.const_value.numpy(), [1, 1])
