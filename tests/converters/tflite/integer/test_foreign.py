"""QDQ graphs of another quantizer: those of ONNX Runtime, in the forms that it makes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from toolchain.converters.graph import clean
from toolchain.converters.tflite import convert
from toolchain.errors import UnsupportedOpsError

node = helper.make_node
X = (1, 8, 12, 10)


class Reader(CalibrationDataReader):
    """The same few arrays."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = iter(arrays)

    def get_next(self) -> dict[str, np.ndarray] | None:
        array = next(self.arrays, None)
        return None if array is None else {"x": array}


@pytest.fixture
def network(make_model, rng) -> onnx.ModelProto:
    def some(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], name="relu"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="depthwise", pads=[1, 1, 1, 1], group=12),
        node("Sigmoid", ["c2"], ["s2"], name="sigmoid"),
        node("Mul", ["c2", "s2"], ["m2"], name="swish"),
        node("MaxPool", ["m2"], ["p2"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p2"], ["g"], name="mean"),
        node("Flatten", ["g"], ["f"], name="flatten"),
        node("Gemm", ["f", "w3", "b3"], ["y"], name="head"),
    ]
    constants = {
        "w1": some(12, 8, 3, 3),
        "b1": some(12),
        "w2": some(12, 1, 3, 3),
        "b2": some(12),
        "w3": some(12, 5),
        "b3": some(5),
    }
    return make_model(nodes, {"x": some(*X)}, ["y"], constants)


def ort_quantized(network, tmp_path, rng, **options) -> onnx.ModelProto:
    source, target = tmp_path / "float.onnx", tmp_path / "qdq.onnx"
    onnx.save(network, source)
    reader = Reader([rng.standard_normal(X).astype(np.float32) for _ in range(4)])
    quantize_static(source, target, reader, quant_format=QuantFormat.QDQ, **options)
    graph = ir.serde.deserialize_model(onnx.load(target))
    clean(graph)
    return ir.serde.serialize_model(graph)


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_ranges_of_onnx_runtime(network, tmp_path, rng, side_by_side, activations, per_channel):
    qdq = ort_quantized(
        network,
        tmp_path,
        rng,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    found = side_by_side(qdq, {"x": rng.standard_normal(X).astype(np.float32)})
    assert not found.converted.report.floats
    assert found.steps <= 4.01


def test_asymmetric_weights_are_refused(network, tmp_path, rng):
    qdq = ort_quantized(
        network, tmp_path, rng, activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8
    )
    with pytest.raises(UnsupportedOpsError) as caught:
        convert(ir.serde.deserialize_model(qdq), "int8")
    assert {refusal.op for refusal in caught.value.refusals} == {"Conv", "Gemm"}
    assert all("asymmetric" in refusal.reason for refusal in caught.value.refusals)


def test_activations_with_a_scale_for_each_channel_are_refused(make_model, rng):
    scales = np.linspace(0.01, 0.02, 8).astype(np.float32)
    constants = {
        "s": scales,
        "z": np.zeros(8, np.int8),
        "w": rng.standard_normal((4, 8, 1, 1)).astype(np.float32),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quantize", axis=1),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dequantize", axis=1),
        node("Conv", ["d", "w"], ["y"], name="conv"),
    ]
    model = make_model(nodes, {"x": rng.standard_normal(X).astype(np.float32)}, ["y"], constants)
    with pytest.raises(UnsupportedOpsError) as caught:
        convert(ir.serde.deserialize_model(model), "int8")
    assert "a scale for each channel" in caught.value.refusals[0].reason
