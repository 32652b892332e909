"""Models that ONNX Runtime's tools quantized keep their pairs and their numbers through load and clean."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from toolchain.converters.graph import clean, load_onnx
from toolchain.converters.graph.quantization import is_quantized
from toolchain.converters.quantize.foreign import accept_quantized
from toolchain.errors import UnsupportedOpsError

RNG = np.random.default_rng(0)
# What the passes fold and merge in float graphs: batch normalization, factors, pads, limiters, views.
NET = """(float[1,3,12,12] x) => (float[1,5] y) {
    a = Conv<pads=[1,1,1,1]>(x, w1, b1)
    n = BatchNormalization(a, gamma, beta, mean, var)
    r = Clip(n, zero, six)
    d = Conv<group=8,pads=[1,1,1,1]>(r, w2)
    m = Mul(d, factor)
    t = Add(m, shift)
    s = HardSwish(t)
    q = Pad(s, sizes)
    e = Conv(q, w3, b3)
    k = Add(e, r)
    u = Relu(k)
    p = GlobalAveragePool(u)
    f = Flatten(p)
    y = Gemm<transB=1>(f, w4, b4)
}"""


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


CONSTANTS = {
    "w1": normal(8, 3, 3, 3),
    "b1": normal(8),
    "gamma": np.abs(normal(8)) + 0.5,
    "beta": normal(8),
    "mean": normal(8),
    "var": np.abs(normal(8)) + 0.5,
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "w2": normal(8, 1, 3, 3),
    "factor": normal(8, 1, 1),
    "shift": normal(8, 1, 1),
    "sizes": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "w3": normal(8, 8, 3, 3) / 4,
    "b3": normal(8),
    "w4": normal(5, 8),
    "b4": normal(5),
}


class Reader(CalibrationDataReader):
    def __init__(self):
        generator = np.random.default_rng(1)
        self.feeds = [{"x": generator.standard_normal((1, 3, 12, 12)).astype(np.float32)} for _ in range(4)]
        self.rest = iter(self.feeds)

    def get_next(self):
        return next(self.rest, None)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory):
    parsed = onnx.parser.parse_graph(f"net {NET}")
    parsed.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in CONSTANTS.items())
    imports = [onnx.helper.make_opsetid("", 17)]
    path = tmp_path_factory.mktemp("foreign") / "float.onnx"
    onnx.save(onnx.helper.make_model(parsed, opset_imports=imports, ir_version=8), path)
    return path


def quantize(source, path, prepared, **options):
    if prepared:
        quant_pre_process(source, path.with_name("prepared.onnx"))
        source = path.with_name("prepared.onnx")
    quantize_static(source, path, Reader(), **options)
    return path


SETTINGS = {
    "defaults": {},
    "per channel": {"per_channel": True, "weight_type": QuantType.QInt8},
    "int8": {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8},
    "uint8 activations": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8},
    "uint8 weights": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8},
    "symmetric": {
        "activation_type": QuantType.QInt8,
        "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True},
    },
    "reduced range": {"reduce_range": True},
    "only convolutions": {"op_types_to_quantize": ["Conv"]},
    "own pair for each reader": {"extra_options": {"DedicatedQDQPair": True}},
    "weights as nodes": {"extra_options": {"AddQDQPairToWeight": True}},
    "int16 activations": {"activation_type": QuantType.QInt16, "weight_type": QuantType.QInt8},
}


def parameters(graph):
    """(scale, zero point) of every pair, and how many there are of it."""
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return sorted(
        (node.op_type, arrays[node.input[1]].tobytes(), arrays[node.input[2]].tobytes())
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    )


@pytest.mark.parametrize("prepared", [False, True], ids=["plain", "prepared"])
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_pairs_and_numbers_stay(kit, float_model, tmp_path, name, prepared):
    path = quantize(float_model, tmp_path / "model.onnx", prepared, **SETTINGS[name])
    before = onnx.load(path)
    model = load_onnx(path)
    assert accept_quantized(model)
    clean(model)
    assert is_quantized(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    assert parameters(after.graph) == parameters(before.graph)
    for feed in Reader().feeds:
        expected, found = kit.run(before, feed)["y"], kit.run(after, feed)["y"]
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["QOperator", "dynamic"])
def test_integer_operators_are_refused(float_model, tmp_path, name):
    path = tmp_path / "model.onnx"
    if name == "dynamic":
        quantize_dynamic(float_model, path)
    else:
        quantize(float_model, path, False, quant_format=QuantFormat.QOperator)
    model = load_onnx(path)
    with pytest.raises(UnsupportedOpsError) as caught:
        accept_quantized(model)
    assert "QDQ" in caught.value.hint
    kinds = {refusal.op for refusal in caught.value.refusals}
    assert kinds & {"QLinearConv", "ConvInteger"}
    assert len(caught.value.refusals) > 2


def test_a_float_model_is_none(float_model):
    model = load_onnx(float_model)
    assert not accept_quantized(model)
