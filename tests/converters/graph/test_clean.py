"""All passes together: the numbers stay, and the graph has the form that targets rely on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from toolchain.converters.graph import clean
from toolchain.errors import UnsupportedError, UnsupportedOpsError

RANDOM = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.5, 1.5, shape).astype(np.float32)


def assert_form(model) -> None:
    """Every guarantee in the docstring of `clean`."""
    nodes, graph = list(model.graph), model.graph
    names = [node.name for node in nodes]
    assert all(names)
    assert len(set(names)) == len(names)
    values = [
        *graph.inputs,
        *graph.initializers.values(),
        *(value for node in nodes for value in node.outputs),
    ]
    assert len({value.name for value in values}) == len(values)
    assert all(value.dtype is not None and value.shape.is_static() for value in values)
    assert not any(value.is_initializer() for value in graph.inputs)
    assert not {"Constant", "Dropout", "BatchNormalization"} & {node.op_type for node in nodes}
    for node in nodes:
        if node.op_type == "Identity":
            source = node.inputs[0]
            assert node.outputs[0].is_graph_output()
            assert source.is_graph_input() or source.is_initializer() or source.is_graph_output()
    ready = {id(value) for value in (*graph.inputs, *graph.initializers.values())}
    for node in nodes:
        assert all(id(value) in ready for value in node.inputs if value is not None)
        ready |= {id(value) for value in node.outputs}


LAYERS = [
    "{y} = Conv<group={g}, pads=[1,1,1,1]>({x}, {w})",
    "{y} = ConvTranspose<group={g}, pads=[1,1,1,1]>({x}, {w})",
    "{y} = BatchNormalization({x}, {v}, {v}, {v}, {v})",
    "{y} = Relu({x})",
    "{y} = Clip({x}, low, high)",
    "{y} = Max({x}, low)",
    "{y} = Mul({x}, {c})",
    "{y} = Add({c}, {x})",
    "{y} = Div({x}, {c})",
    "{y} = Sub({x}, one)",
    "{y}p = Pad({x}, pads) {y} = AveragePool<kernel_shape=[3,3]>({y}p)",
    "{y}p = Pad({x}, pads, lowest) {y} = MaxPool<kernel_shape=[3,3]>({y}p)",
    "{y}p = Pad({x}, pads) {y} = Conv<group={g}>({y}p, {w})",
    "{y} = Dropout({x})",
    "{y} = Identity({x})",
    "{y}t = Transpose<perm=[0,2,3,1]>({x}) {y} = Transpose<perm=[0,3,1,2]>({y}t)",
    "{y}s = Shape({x}) {y}f = Flatten({x}) {y} = Reshape({y}f, {y}s)",
    "{y}h = HardSigmoid<alpha=0.16666667, beta=0.5>({x}) {y} = Mul({x}, {y}h)",
    "{y}r = Relu({x}) {y} = Add({x}, {y}r)",
    "{y} = Concat<axis=0>({x})",
    "{y}k = Constant<value_float=0.5>() {y}l = CastLike({y}k, {x}) {y} = Mul({x}, {y}l)",
]


layer_with_groups = st.tuples(st.sampled_from(LAYERS), st.sampled_from([1, 2, 4]))


@settings(max_examples=60, deadline=None)
@given(
    layers=st.lists(st.tuples(st.sampled_from(LAYERS), st.sampled_from([1, 2, 4])), min_size=1, max_size=8)
)
def test_random_networks(graphs, layers):
    constants = {
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "one": np.array(1, np.float32),
        "lowest": np.array(-np.inf, np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    }
    lines, source = [], "x"
    for index, (layer, groups) in enumerate(layers):
        # Some weights are shared between layers.
        w, v, c = f"w{groups}_{index % 2}", f"v{index % 3}", f"c{index % 3}"
        constants |= {w: floats(4, 4 // groups, 3, 3) - 1, v: floats(4), c: floats(4, 1, 1)}
        lines.append(layer.format(x=source, y=f"y{index}", g=groups, w=w, v=v, c=c))
        source = f"y{index}"
    body = "\n".join([*lines, f"y = Neg({source})"])
    used = {name: array for name, array in constants.items() if name in body}
    before = graphs.build(f"(float[1,4,6,6] x) => (float[1,4,6,6] y) {{ {body} }}", **used)
    model = graphs.clean(before)
    assert_form(model)
    graphs.assert_same(before, model, tolerance=5e-5)
    found = graphs.ops(model)
    assert not {"Pad", "Shape", "CastLike", "Transpose", "Reshape", "Flatten"} & set(found)
    proto = graphs.proto(model)
    clean(model)
    assert graphs.proto(model) == proto


def test_an_inverted_residual_block_becomes_three_convolutions(graphs):
    text = """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
        a = Conv(x, expand)
        b = BatchNormalization(a, v8, v8, v8, v8)
        c = Clip(b, low, high)
        d = Conv<group=8, pads=[1,1,1,1]>(c, depth)
        e = BatchNormalization(d, v8, v8, v8, v8)
        f = Clip(e, low, high)
        g = Conv(f, project)
        h = BatchNormalization(g, v4, v4, v4, v4)
        y = Add(x, h)
    }"""
    before = graphs.build(
        text,
        expand=floats(8, 4, 1, 1),
        depth=floats(8, 1, 3, 3),
        project=floats(4, 8, 1, 1),
        v8=floats(8),
        v4=floats(4),
        low=np.array(0, np.float32),
        high=np.array(6, np.float32),
    )
    model = graphs.clean(before)
    assert graphs.ops(model) == {"Conv": 3, "Clip": 2, "Add": 1}
    assert_form(model)
    graphs.assert_same(before, model)


def test_a_computed_reshape_becomes_static(graphs):
    text = """(float[2,3,4,5] x) => (float[2,60] y) {
        s = Shape(x)
        n = Slice(s, zero, one)
        r = Concat<axis=0>(n, rest)
        y = Reshape(x, r)
    }"""
    before = graphs.build(text, zero=np.array([0]), one=np.array([1]), rest=np.array([-1]))
    model = graphs.clean(before)
    assert graphs.ops(model) == {"Reshape": 1}
    assert_form(model)
    graphs.assert_same(before, model)


def test_weights_that_are_inputs_too_are_weights(graphs):
    before = graphs.build("(float[2] x, float[2] k) => (float[2] y) { y = Mul(x, k) }", k=floats(2))
    model = graphs.clean(before)
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert_form(model)


def test_unsorted_nodes_are_sorted(graphs):
    before = graphs.build("(float[2] x) => (float[2] y) { a = Neg(x) y = Abs(a) }")
    model = graphs.parse(before)
    first = next(iter(model.graph))
    model.graph.remove(first)
    model.graph.append(first)
    clean(model)
    assert_form(model)
    graphs.assert_same(before, model)


def test_weights_are_not_written_to(graphs):
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] y) {
        c = Conv(x, w)
        b = BatchNormalization(c, v, v, v, v)
        y = Mul(b, v1)
    }"""
    constants = {"w": floats(2, 2, 1, 1), "v": floats(2), "v1": floats(2, 1, 1)}
    model = graphs.parse(graphs.build(text, **constants))
    held = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    clean(model)
    assert graphs.ops(model) == {"Conv": 1}
    for name, array in constants.items():
        assert np.array_equal(held[name], array)


def test_a_dynamic_input_is_named(graphs):
    model = graphs.parse(graphs.build('(float["N",3] x) => (float["N",3] y) { y = Neg(x) }'))
    with pytest.raises(UnsupportedError, match=r"input 'x' has no static shape: \?x3") as caught:
        clean(model)
    assert "--input-shape" in caught.value.hint


IF = """y = If (c) <
    then_branch = t () => (float["N"] r) { r = Neg(x) },
    else_branch = e () => (float["N"] s) { s = Identity(x) }
>"""
UNKNOWN = [
    ("y = com.microsoft.FusedThing(x)", "com.microsoft::FusedThing", "domain 'com.microsoft' are unknown"),
    ("n = NonZero(x) y = Cast<to=1>(n)", "NonZero", "depends on the values"),
    (IF, "If", "control flow decides at run time"),
    (
        "s = SequenceEmpty<dtype=1>() t = SequenceInsert(s, x) y = SequenceAt(t, k)",
        "SequenceEmpty",
        "a sequence",
    ),
]


@pytest.mark.parametrize(("body", "op", "reason"), UNKNOWN, ids=[row[1] for row in UNKNOWN])
def test_where_knowledge_ends_is_named(graphs, body, op, reason):
    before = graphs.build(f"(float[3] x, bool c, int64 k) => (float y) {{ {body} }}")
    before.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedOpsError, match=reason) as caught:
        graphs.clean(before)
    assert [refusal.op for refusal in caught.value.refusals] == [op]
    assert caught.value.refusals[0].node
    assert caught.value.hint


def test_all_such_nodes_are_listed_and_not_their_readers(graphs):
    text = """(float[3] x) => (float y) {
        a = com.microsoft.First(x)
        b = Relu(a)
        c = com.microsoft.Second(x)
        y = Add(b, c)
    }"""
    before = graphs.build(text)
    before.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedOpsError) as caught:
        graphs.clean(before)
    assert [refusal.node for refusal in caught.value.refusals] == ["First", "Second"]


def test_foreign_nodes_of_known_shape_are_left_to_the_target(graphs):
    before = graphs.build("(float[3] x) => (float[3] y) { a = com.microsoft.Gelu(x) y = Neg(a) }")
    before.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [3]))
    model = graphs.clean(before)
    assert graphs.ops(model) == {"Gelu": 1, "Neg": 1}
    graphs.assert_same(before, model)


def test_a_quantized_network_stays_quantized(graphs):
    text = """(float[1,2,6,6] x) => (float[1,3,6,6] y) {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        v = DequantizeLinear<axis=0>(w, sw, zw)
        b = DequantizeLinear(i, sb, zb)
        c = Conv<pads=[1,1,1,1]>(d, v, b)
        r = Relu(c)
        t = QuantizeLinear(r, s, z)
        y = DequantizeLinear(t, s, z)
    }"""
    before = graphs.build(
        text,
        s=np.array(0.05, np.float32),
        z=np.array(0, np.int8),
        w=RANDOM.integers(-127, 127, (3, 2, 3, 3)).astype(np.int8),
        sw=np.array([0.01, 0.02, 0.03], np.float32),
        zw=np.zeros(3, np.int8),
        i=np.array([5, -7, 9], np.int32),
        sb=np.array(0.001, np.float32),
        zb=np.array(0, np.int32),
    )
    model = graphs.clean(before)
    assert graphs.ops(model) == {"QuantizeLinear": 2, "DequantizeLinear": 4, "Conv": 1, "Relu": 1}
    assert_form(model)
    graphs.assert_same(before, model)
