"""Pairs lie where the TFLite specification wants integers, with the scales that its kernels demand."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from toolchain.converters.graph.quantization import absorb_quantization, quantization_of
from toolchain.converters.quantize.calibrate import calibrate
from toolchain.converters.quantize.integer_forms import write_integer_forms
from toolchain.converters.quantize.place import place_pairs, stored_values
from toolchain.converters.quantize.scheme import Range
from toolchain.errors import UnsupportedError, UsageError

RNG = np.random.default_rng(0)
X = "(float[1,4,6,6] x)"
Y = "(float[1,4,6,6] y)"


def weights(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


KERNEL, POINT, OFFSET = weights(4, 4, 3, 3), weights(4, 4, 1, 1), weights(4)
CONV = {"w": KERNEL, "b": OFFSET}
SAME = "pads=[1,1,1,1]"

# Every kind of placement; all of them must run, optimized or not, with the same result.
NETS = {
    "relu6 fused": (f"{X} => {Y} {{ c = Conv<{SAME}>(x, w, b) y = Clip(c, low, high) }}", CONV),
    "two readers": (f"{X} => {Y} {{ c = Conv<{SAME}>(x, w, b) r = Relu(c) y = Add(r, c) }}", CONV),
    "depthwise": (
        f"{X} => {Y} {{ y = Conv<group=4,{SAME}>(x, d, b) }}",
        {"d": weights(4, 1, 3, 3), "b": OFFSET},
    ),
    "transposed": (
        f"{X} => (float[1,4,13,13] y) {{ c = ConvTranspose<strides=[2,2]>(x, w, b) y = Relu(c) }}",
        CONV,
    ),
    "concat": (f"{X} => (float[1,8,6,6] y) {{ c = Conv<{SAME}>(x, w, b) y = Concat<axis=1>(x, c) }}", CONV),
    "sigmoid concat": (
        f"{X} => (float[1,8,6,6] y) {{ s = Sigmoid(x) c = Conv<{SAME}>(x, w, b) y = Concat<axis=1>(s, c) }}",
        CONV,
    ),
    "silu": (f"{X} => {Y} {{ c = Conv<{SAME}>(x, w, b) s = Sigmoid(c) y = Mul(c, s) }}", CONV),
    "hard swish": (f"{X} => {Y} {{ c = Conv<{SAME}>(x, w, b) y = HardSwish(c) }}", CONV),
    "hard sigmoid": (f"{X} => {Y} {{ y = HardSigmoid<alpha=0.25>(x) }}", {}),
    "pool relu": (
        f"{X} => (float[1,4,3,3] y) {{ p = MaxPool<kernel_shape=[2,2],strides=[2,2]>(x) y = Relu(p) }}",
        {},
    ),
    "mean gemm": (
        f"{X} => (float[1,5] y) {{ p = GlobalAveragePool(x) f = Flatten(p) y = Gemm<transB=1>(f, g, k) }}",
        {"g": weights(5, 4), "k": weights(5)},
    ),
    "gemm factors": (
        "(float[2,4] x) => (float[2,5] y) { y = Gemm<alpha=0.5,beta=2.0>(x, g, k) }",
        {"g": weights(4, 5), "k": weights(1)},
    ),
    "attention": (
        "(float[2,4,6] q, float[2,5,6] k, float[2,5,3] v) => (float[2,4,3] y)"
        " { t = Transpose<perm=[0,2,1]>(k) s = MatMul(q, t) h = Div(s, five) p = Softmax(h)"
        " y = MatMul(p, v) }",
        {"five": np.array(5, np.float32)},
    ),
    "constant on the left": ("(float[4,3] x) => (float[2,3] y) { y = MatMul(m, x) }", {"m": weights(2, 4)}),
    "constant operands": (
        f"{X} => {Y} {{ a = Mul(x, c) e = Add(a, f) y = Max(e, g) }}",
        {"c": weights(4, 1, 1), "f": weights(1, 4, 1, 1), "g": weights(1, 4, 1, 1)},
    ),
    "arg max": (
        f"{X} => (int64[1,6,6] y) {{ c = Conv<{SAME}>(x, w, b) y = ArgMax<axis=1,keepdims=0>(c) }}",
        CONV,
    ),
    "layer norm between": (
        f"{X} => {Y} {{ c = Conv<{SAME}>(x, w, b) l = LayerNormalization(c, n) y = Conv<{SAME}>(l, v, b) }}",
        {**CONV, "v": weights(4, 4, 3, 3), "n": weights(6)},
    ),
    "two inputs": (f"(float[1,4,6,6] x, float[1,4,6,6] z) => {Y} {{ y = Add(x, z) }}", {}),
    "split": (
        f"{X} => (float[1,2,6,6] y, float[1,2,6,6] z) {{ y, z = Split<axis=1,num_outputs=2>(x) }}",
        {},
    ),
    "prelu": (f"{X} => {Y} {{ y = PRelu(x, s) }}", {"s": weights(4, 1, 1)}),
    "where": (
        f"{X} => {Y} {{ y = Where(mask, x, s) }}",
        {"mask": np.arange(6) % 2 == 0, "s": weights(4, 1, 1)},
    ),
    "no weights": (f"{X} => {Y} {{ y = Conv<{SAME}>(x, none, b) }}", {"none": 0 * KERNEL, "b": OFFSET}),
}
SHARED = {
    "low": np.array(0, np.float32),
    "high": np.array(6, np.float32),
    "zero": np.array(0, np.float32),
}


@pytest.fixture
def net(graph):
    def make(name):
        text, constants = NETS[name]
        return graph(text, **constants, **SHARED)

    return make


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", sorted(NETS))
def test_runs_with_and_without_optimizations(net, kit, name, activations):
    model = net(name)
    feeds = kit.random_feeds(model)
    expected = [kit.run(model, feed) for feed in feeds]
    made = kit.quantized(model, feeds, activations=activations)
    for feed, truth in zip(feeds, expected, strict=True):
        plain, optimized = kit.run(made, feed), kit.run(made, feed, kit.ALL)
        for key, value in truth.items():
            if value.dtype != np.float32:
                continue
            step = kit.stored(made, key)
            scale = step[0] if step else np.abs(value).max() / 100
            assert np.abs(plain[key] - optimized[key]).max() <= 1.01 * scale
            # Two or three steps of rounding for each of up to five layers.
            allowed = 0.04 if activations == "int8" else 0.015
            assert np.abs(plain[key] - value).max() <= allowed * max(np.ptp(value), 1)


@pytest.mark.parametrize("name", sorted(NETS))
def test_targets_can_read_every_pair(net, kit, name):
    made = kit.quantized(net(name))
    absorb_quantization(made)
    left = set(kit.ops(made)) & {"QuantizeLinear", "DequantizeLinear"}
    assert not left
    for node in made.graph:
        if node.op_type == "Conv" and quantization_of(node.inputs[0]) is not None:
            assert quantization_of(node.inputs[1]).dtype == np.int8


@pytest.mark.parametrize("name", sorted(NETS))
def test_the_same_graph_comes_out_each_time(net, kit, name):
    first, second = (ir.to_proto(kit.quantized(net(name))).SerializeToString() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", sorted(NETS))
def test_nothing_is_left_that_nobody_reads(net, kit, name):
    made = kit.quantized(net(name))
    assert all(value.uses() for value in made.graph.initializers.values())


@pytest.mark.parametrize("name", sorted(NETS))
def test_stored_values_are_what_is_needed(net, name, kit):
    model = net(name)
    write_integer_forms(model)
    names = stored_values(model)
    ranges = calibrate(model, kit.random_feeds(model), names=names).ranges
    assert sorted(ranges) == sorted(names)
    place_pairs(model, ranges)


def test_no_pair_before_a_fused_activation(net, kit):
    made = kit.quantized(net("relu6 fused"))
    assert kit.stored(made, "c") is None
    scale, zero = kit.stored(made, "y")
    assert zero == -128
    assert 0 < scale <= 6 / 255 * 1.000001


def test_a_pair_where_others_read_the_convolution(net, kit):
    made = kit.quantized(net("two readers"))
    assert None not in (kit.stored(made, "c"), kit.stored(made, "r"))


def test_what_only_a_relu_reads_has_the_range_behind_it(net, kit):
    made = kit.quantized(net("transposed"))
    assert kit.stored(made, "c") == kit.stored(made, "y")
    assert kit.stored(made, "y")[1] == -128


def test_a_pool_keeps_its_scale_through_the_fused_relu(net, kit):
    made = kit.quantized(net("pool relu"))
    assert kit.stored(made, "p") is None
    assert kit.stored(made, "x") == kit.stored(made, "y")
    assert kit.stored(made, "x")[1] > -128


@pytest.mark.parametrize(("name", "values"), [("concat", "xcy"), ("split", "xyz"), ("where", "xy")])
def test_one_scale_for_shared_numbers(net, kit, name, values):
    made = kit.quantized(net(name))
    assert len({kit.stored(made, value) for value in values}) == 1


def test_scale_of_a_group_is_worked_out_by_hand(graph, kit):
    model = graph(
        "(float[1,2] x, float[1,2] z) => (float[1,6] y) { y = Concat<axis=1>(x, z, c) }",
        c=np.array([[0.0, 10.2]], np.float32),
    )
    place_pairs(model, {"x": Range(-1, 2), "z": Range(-10.2, 1), "y": Range(-10.2, 10.2)})
    for name in "xzy":
        scale, zero = kit.stored(model, name)
        assert scale == pytest.approx(10.2 / 127)
        assert zero == 0
    constant = model.graph.initializers["c.quantized"].const_value.numpy()
    assert constant.tolist() == [[0, 127]]


def test_a_fixed_scale_stays_and_the_group_gets_its_own(net, kit):
    made = kit.quantized(net("sigmoid concat"))
    assert kit.stored(made, "s") == (1 / 256, -128)
    assert kit.stored(made, "s.real") == kit.stored(made, "c") == kit.stored(made, "y")


def test_views_of_a_fixed_scale_have_it(graph, kit):
    model = graph("(float[2,3] x) => (float[3,2] y) { s = Softmax(x) y = Transpose<perm=[1,0]>(s) }")
    made = kit.quantized(model, [{"x": np.array([[90, 0, 0], [0, 1, 2]], np.float32)}])
    assert kit.stored(made, "s") == kit.stored(made, "y") == (1 / 256, -128)
    assert kit.ops(made).count("QuantizeLinear") == 3


def test_int16_is_symmetric_and_leaves_biases_to_the_target(net, kit):
    made = kit.quantized(net("silu"), activations="int16")
    assert kit.stored(made, "c")[1] == 0
    assert kit.stored(made, "s") == (1 / 32768, 0)
    conv = next(node for node in made.graph if node.op_type == "Conv")
    assert conv.inputs[1].producer().inputs[0].dtype == ir.DataType.INT8
    assert conv.inputs[2].is_initializer()
    assert made.opset_imports[""] == 21


def test_biases_are_int32_with_the_scale_of_the_products(net, kit):
    made = kit.quantized(net("depthwise"))
    conv = next(node for node in made.graph if node.op_type == "Conv")
    kernel, offset = (conv.inputs[index].producer() for index in (1, 2))
    assert [v.dtype for v in (kernel.inputs[0], offset.inputs[0])] == [ir.DataType.INT8, ir.DataType.INT32]
    step, _ = kit.stored(made, "x")
    expected = np.float32(step) * kernel.inputs[1].const_value.numpy()
    np.testing.assert_allclose(offset.inputs[1].const_value.numpy(), expected, rtol=1e-6)
    assert expected.shape == (4,)
    assert np.abs(kernel.inputs[0].const_value.numpy()).max(axis=(1, 2, 3)).tolist() == [127] * 4


def test_weights_of_two_nodes_are_stored_once(net, kit):
    text = f"{X} => {Y} {{ c = Conv<{SAME}>(x, w, b) y = Conv<{SAME}>(c, w, b) }}"
    made = kit.quantized(kit.graph(text, **CONV))
    stored = [
        v for v in made.graph.initializers.values() if v.dtype == ir.DataType.INT8 and v.shape.rank() == 4
    ]
    assert len(stored) == 1


def test_float_readers_see_the_stored_value(graph, kit):
    model = graph(f"{X} => (float[1,4,6,6] y, float[1,4,6,6] z) {{ y = Relu(x) z = Sin(x) }}")
    made = kit.quantized(model)
    sine = next(node for node in made.graph if node.op_type == "Sin")
    assert sine.inputs[0].producer().op_type == "DequantizeLinear"
    assert kit.stored(made, "z") is None


def test_what_moves_numbers_between_float_operators_stays_float(graph, kit):
    model = graph("(float[2,3] x) => (float[3,2] y) { a = Sin(x) t = Transpose<perm=[1,0]>(a) y = Cos(t) }")
    assert "QuantizeLinear" not in kit.ops(kit.quantized(model))


@pytest.mark.parametrize("which", [0, 1])
def test_a_fused_pair_is_kept_float_together(net, kit, which):
    model = net("relu6 fused")
    name = list(model.graph)[which].name
    assert "QuantizeLinear" not in kit.ops(kit.quantized(model, kept_float=[name]))


def test_a_computed_kernel_stays_float(graph, kit):
    text = f"(float[1,4,6,6] x, float[4,4,3,3] w) => {Y} {{ a = Relu(w) y = Conv<{SAME}>(x, a) }}"
    made = kit.quantized(graph(text))
    assert kit.stored(made, "y") is None


def test_an_infinite_mask_stays_float(graph, kit):
    mask = np.array([0, -np.inf], np.float32)
    model = graph("(float[3,2] x) => (float[3,2] y) { y = Add(x, m) }", m=mask)
    place_pairs(model, {"x": Range(-1, 1)})
    assert kit.ops(model) == ["Add"]


def test_ends_keep_their_names_and_shapes(net, kit):
    made = ir.to_proto(kit.quantized(net("concat")))
    assert [value.name for value in (*made.graph.input, *made.graph.output)] == ["x", "y"]


def test_names_that_are_taken_already(graph, kit):
    model = graph(f"{X} => {Y} {{ a = Relu(x) c = Abs(a) d = Abs(c) y = Neg(d) }}")
    for value in [value for node in model.graph for value in node.outputs]:
        value.name = {"c": "a.real", "d": "a.quantized"}.get(value.name, value.name)
    made = kit.quantized(model)
    names = [value.name for node in made.graph for value in node.outputs]
    assert len(names) == len(set(names))


def test_missing_ranges_are_counted_and_the_first_is_named(net):
    with pytest.raises(UsageError, match=r"range of 'x' and of 3 more values is not known \(4 are needed\)"):
        place_pairs(net("two readers"), {})


@pytest.mark.parametrize("found", [Range(0, np.inf), Range(np.nan, 1), Range(2, 1)])
def test_ranges_must_be_finite(net, found):
    with pytest.raises(UsageError, match="range of 'x'"):
        place_pairs(net("two inputs"), {"x": found, "y": Range(0, 1), "z": Range(0, 1)})


def test_unknown_activations(net):
    with pytest.raises(UsageError, match="int4"):
        place_pairs(net("concat"), {}, activations="int4")


def test_int16_refuses_what_opset_21_changes(graph):
    model = graph(f"{X} => {Y} {{ a = Relu(x) y = GroupNormalization<num_groups=2>(a, s, s) }}", s=weights(2))
    with pytest.raises(UnsupportedError, match="GroupNormalization"):
        place_pairs(model, {"x": Range(0, 1), "a": Range(0, 1)}, activations="int16")


def test_ranges_of_another_input_size_fit(graph, kit):
    ranges = {"x": Range(-1, 1), "y": Range(-9, 9)}
    for size in (6, 10):
        text = f"(float[1,4,{size},{size}] x) => (float[1,4,{size},{size}] y) {{ y = Conv<{SAME}>(x, w, b) }}"
        model = graph(text, **CONV)
        place_pairs(model, ranges)
        onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_unknown_nodes_to_keep_float(net):
    with pytest.raises(UsageError, match="no node is called 'Con'") as caught:
        place_pairs(net("concat"), {}, ["Con"])
    assert "Conv" in caught.value.hint
