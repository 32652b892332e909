"""Compressed weights: what is written is read back from the saved file and compared with the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import helper, numpy_helper

from toolchain.converters.coreml.convert import CoreMLModel
from toolchain.converters.coreml.weights import packed, quantize, stored_bytes
from toolchain.errors import UnsupportedError
from toolchain.parity import compare
from toolchain.runtimes.coreml_file import read_coreml
from toolchain.runtimes.mil.execute import to_tensor
from toolchain.runtimes.mil.operators import operators
from toolchain.runtimes.mil.program import Constant, read_program
from toolchain.runtimes.neuralnetwork.weights import decoded
from toolchain.spec import GENERIC

ToCoreML = Callable[..., CoreMLModel]
MakeModel = Callable[..., onnx.ModelProto]
FINITE = {"allow_nan": False, "allow_infinity": False}
HALF = 2.0**-11


def sqnr_db(expected: np.ndarray, actual: np.ndarray) -> float:
    """Signal-to-quantization-noise ratio in dB."""
    return compare([{"w": expected}], [{"w": actual}], GENERIC).sqnr_db


def save(made: CoreMLModel, folder: Path, suffix: str = ".mlpackage") -> Path:
    path = folder / f"model{suffix}"
    made.model.save(str(path))
    return path


def constexpr_values(path: Path) -> dict[str, np.ndarray]:
    """Decompressed weights of a saved package, by name."""
    file = read_coreml(path)
    made = {}
    for operation in read_program(file.spec.mlProgram, file.folder).block.operations:
        if not operation.type.startswith("constexpr_"):
            continue
        given: dict[str, Constant] = dict(operation.attributes)
        given |= {name: arguments[0] for name, arguments in operation.inputs.items()}
        tensors = {name: to_tensor(item.value, item.type) for name, item in given.items()}
        made[operation.outputs[0].name] = operators().get(operation.type)(**tensors).numpy()
    return made


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    """One weight of each kind; every channel has its own range."""
    random = np.random.default_rng(0)

    def made(*shape: int, axis: int) -> np.ndarray:
        ranges = np.linspace(0.1, 2, shape[axis]).reshape(
            [-1 if index == axis else 1 for index in range(len(shape))]
        )
        return (random.standard_normal(shape) * ranges).astype(np.float32)

    return {
        "plain": made(32, 8, 3, 3, axis=0),
        "depthwise": made(32, 1, 5, 5, axis=0),
        "transposed": made(32, 16, 2, 2, axis=1),
        "grouped_transposed": made(16, 8, 3, 3, axis=1),
        "depthwise_transposed": made(16, 1, 6, 6, axis=0),
        "matrix": made(16, 48, axis=1),
    }


AXES = {
    "plain": 0,
    "depthwise": 0,
    "transposed": 1,
    "grouped_transposed": 1,
    "depthwise_transposed": 0,
}


@pytest.fixture
def network(weights: dict[str, np.ndarray], make_model: MakeModel) -> onnx.ModelProto:
    """Every kind of weight behind each other, (1, 8, 8, 8) -> (1, 16, 48)."""
    nodes = [
        helper.make_node("Conv", ["x", "plain"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "depthwise"], ["b"], pads=[2, 2, 2, 2], group=32),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("ConvTranspose", ["c", "transposed"], ["d"], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["d", "grouped_transposed"], ["e"], group=2, pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["e", "depthwise_transposed"], ["f"], group=16),
        helper.make_node("ReduceMean", ["f"], ["g"], keepdims=0, axes=[3]),
        helper.make_node("Transpose", ["g"], ["h"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["h", "matrix"], ["y"]),
    ]
    nodes[6] = helper.make_node("GlobalAveragePool", ["f"], ["g"])
    nodes[7] = helper.make_node("Flatten", ["g"], ["h"])
    shaped = {"x": np.zeros((1, 8, 8, 8), np.float32)}
    return make_model(nodes, shaped, ("y",), weights)


def found(values: dict[str, np.ndarray], weight: np.ndarray) -> np.ndarray:
    """The decompressed weight nearest to one of the network (linear layers have it transposed), or itself."""
    same = [v if v.shape == weight.shape else v.T for v in values.values() if v.size == weight.size]
    same = [value for value in same if value.shape == weight.shape]
    return max(same, key=lambda value: sqnr_db(weight, value), default=weight)


@pytest.mark.parametrize("ios", [16, 17, 18])
def test_linear_error_is_at_most_half_a_step_of_the_channel(
    ios: int,
    network: onnx.ModelProto,
    weights: dict[str, np.ndarray],
    to_coreml: ToCoreML,
    tmp_path: Path,
) -> None:
    made = to_coreml(network, ios=ios, precision="w8")
    values = constexpr_values(save(made, tmp_path))
    assert made.weights.compressed == len(values) == len(weights)
    assert made.weights.kept == []
    for name, weight in weights.items():
        axis = AXES.get(name, 1)
        others = tuple(index for index in range(weight.ndim) if index != axis)
        largest = np.abs(weight).max(axis=others, keepdims=True)
        # Weights and scales are float16 as well, and so is the product of the two.
        allowed = largest / 127 / 2 * (1 + 4 * HALF) + 2 * HALF * np.abs(weight)
        assert np.all(np.abs(found(values, weight) - weight) <= allowed), name


@pytest.mark.parametrize(
    ("precision", "bits", "least"), [("palette4", 4, 18), ("palette6", 6, 28), ("palette8", 8, 38)]
)
@pytest.mark.parametrize("ios", [16, 18])
def test_palettes(
    precision: str,
    bits: int,
    least: float,
    ios: int,
    network: onnx.ModelProto,
    weights: dict[str, np.ndarray],
    to_coreml: ToCoreML,
    tmp_path: Path,
) -> None:
    made = to_coreml(network, ios=ios, precision=precision)
    values = constexpr_values(save(made, tmp_path))
    assert len(values) == made.weights.compressed
    assert len(values) + len(made.weights.kept) == len(weights)
    for name, weight in weights.items():
        if any(kept.elements == weight.size for kept in made.weights.kept):
            continue
        value = found(values, weight)
        tables = weight.shape[AXES.get(name, 1)] // 16 if ios == 18 and bits == 4 else 1
        assert len(np.unique(value)) <= max(tables, 1) << bits, name
        assert sqnr_db(weight, value) > least, name


def test_groups_of_channels_have_tables_of_their_own_from_ios_18_on(
    make_node_model: Callable[..., onnx.ModelProto], to_coreml: ToCoreML, tmp_path: Path
) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32, 3, 3)).astype(np.float32)
    weight *= np.repeat([0.01, 0.1, 1, 10], 16).reshape(-1, 1, 1, 1).astype(np.float32)
    model = node_of(weight, make_node_model)
    quality = {}
    for ios in (16, 18):
        [value] = constexpr_values(save(to_coreml(model, ios=ios, precision="palette4"), tmp_path)).values()
        quality[ios] = min(
            sqnr_db(part, other) for part, other in zip(np.split(weight, 4), np.split(value, 4), strict=True)
        )
    assert quality[16] < 5
    assert quality[18] > 19


def node_of(weight: np.ndarray, make_node_model: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """A convolution with this weight."""
    picture = np.zeros((1, weight.shape[1], 6, 6), np.float32)
    return make_node_model("Conv", {"x": picture}, {"w": weight})


@pytest.mark.parametrize("precision", ["w8", "palette8", "palette6", "palette4"])
def test_files_compute_with_the_compressed_weights(
    precision: str,
    network: onnx.ModelProto,
    weights: dict[str, np.ndarray],
    run_both: Callable[..., Any],
    to_coreml: ToCoreML,
    tmp_path: Path,
) -> None:
    feeds = {"x": np.random.default_rng(1).normal(scale=0.01, size=(1, 8, 8, 8)).astype(np.float32)}
    path = save(to_coreml(network, precision=precision), tmp_path)
    values = constexpr_values(path)
    changed = onnx.ModelProto()
    changed.CopyFrom(network)
    for tensor in changed.graph.initializer:
        value = np.ascontiguousarray(found(values, weights[tensor.name]))
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    expected, _, _ = run_both(changed, feeds)
    _, actual, _ = run_both(network, feeds, precision=precision)
    assert sqnr_db(expected["y"], actual["y"]) > 45


@pytest.mark.parametrize("ios", [16, 18])
@pytest.mark.parametrize(
    ("precision", "bits"), [("w8", 8), ("palette4", 4), ("palette6", 6), ("palette8", 8)]
)
def test_files_shrink_as_the_bits_do(
    precision: str,
    bits: int,
    ios: int,
    make_node_model: Callable[..., onnx.ModelProto],
    to_coreml: ToCoreML,
    tmp_path: Path,
) -> None:
    model = node_of(
        np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32), make_node_model
    )
    half = stored(save(to_coreml(model, ios=ios, precision="fp16"), tmp_path))
    assert stored(save(to_coreml(model, ios=ios, precision=precision), tmp_path)) < half * (bits / 16 + 0.02)


def stored(path: Path) -> int:
    """Bytes of the weight file."""
    return (path / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size


def test_report_and_metadata_name_what_is_kept(make_model: MakeModel, to_coreml: ToCoreML) -> None:
    random = np.random.default_rng(0)
    constants = {
        "large": random.standard_normal((32, 8, 3, 3)).astype(np.float32),
        "small": random.standard_normal((16, 2, 1, 1)).astype(np.float32),
        "shared": random.standard_normal((1, 16, 40, 40)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "large"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "small"], ["b"], group=16),
        helper.make_node("MatMul", ["b", "shared"], ["c"]),
        helper.make_node("Mul", ["c", "shared"], ["y"]),
    ]
    model = make_model(nodes, {"x": np.zeros((1, 8, 40, 40), np.float32)}, ("y",), constants)
    made = to_coreml(model, precision="w8")
    assert made.weights.compressed == 1
    assert made.weights.elements == constants["large"].size
    reasons = {kept.elements: kept.reason for kept in made.weights.kept}
    assert reasons == {32: "would not get smaller", 25600: "used in several ways"}
    stored = json.loads(made.model.user_defined_metadata["TOOLCHAIN_WEIGHTS"])
    assert stored["precision"] == "w8"
    assert stored["compressed"] == 1
    assert len(stored["kept"]) == 2


def test_infinite_weights_stay_as_they_are(make_model: MakeModel, to_coreml: ToCoreML) -> None:
    random = np.random.default_rng(0)
    constants = {name: random.standard_normal((16, 16, 3, 3)).astype(np.float32) for name in ("one", "two")}
    constants["two"][3, 2, 1, 0] = np.inf
    nodes = [
        helper.make_node("Conv", ["x", "one"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "two"], ["y"], pads=[1, 1, 1, 1]),
    ]
    model = make_model(nodes, {"x": np.zeros((1, 16, 6, 6), np.float32)}, ("y",), constants)
    for precision, kind in (("w8", "mlprogram"), ("palette6", "mlprogram"), ("w8", "neuralnetwork")):
        made = to_coreml(model, kind=kind, precision=precision)
        assert made.weights.compressed == 1
        assert [kept.reason for kept in made.weights.kept] == ["is not finite"]


@pytest.mark.parametrize("kind", ["mlprogram", "neuralnetwork"])
def test_a_network_without_weights_is_refused(
    kind: str, make_node_model: Callable[..., onnx.ModelProto], to_coreml: ToCoreML
) -> None:
    model = make_node_model("Relu", {"x": np.zeros((1, 3, 4, 4), np.float32)})
    with pytest.raises(UnsupportedError, match="no weight that gets smaller as 'w8'") as caught:
        to_coreml(model, kind=kind, precision="w8")
    assert "fp16" in caught.value.hint


def test_the_same_network_gives_the_same_file(
    network: onnx.ModelProto, to_coreml: ToCoreML, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        save(to_coreml(network, precision="palette6"), folder)
    for part in ("model.mlmodel", "weights/weight.bin"):
        first, second = ((f / "model.mlpackage/Data/com.apple.CoreML" / part).read_bytes() for f in folders)
        assert first == second


def layer_weights(path: Path) -> dict[str, np.ndarray]:
    """Decoded kernels of a saved .mlmodel by layer name, in the shapes of the format."""
    made = {}
    for layer in read_coreml(path).spec.neuralNetwork.layers:
        kind = layer.WhichOneof("layer")
        if kind == "convolution":
            params = layer.convolution
            shape, axis = (params.outputChannels, params.kernelChannels, *params.kernelSize), 0
            if params.isDeconvolution:
                inner = params.outputChannels // max(params.nGroups, 1)
                shape, axis = (params.kernelChannels, inner, *params.kernelSize), 1
            made[layer.name] = decoded(params.weights, shape, axis).numpy()
        elif kind == "innerProduct":
            sizes = (layer.innerProduct.outputChannels, layer.innerProduct.inputChannels)
            made[layer.name] = decoded(layer.innerProduct.weights, sizes).numpy()
        elif kind == "batchedMatmul":
            product = layer.batchedMatmul
            sizes = (product.weightMatrixSecondDimension, product.weightMatrixFirstDimension)
            made[layer.name] = decoded(product.weights, sizes).numpy()
    return made


@pytest.mark.parametrize(("precision", "step"), [("fp16", 0.0), ("w8", 1 / 127 / 2)])
def test_neural_network_weights(
    precision: str,
    step: float,
    network: onnx.ModelProto,
    weights: dict[str, np.ndarray],
    to_coreml: ToCoreML,
    tmp_path: Path,
) -> None:
    whole = (
        save(to_coreml(network, kind="neuralnetwork", precision="fp32"), tmp_path, ".mlmodel").stat().st_size
    )
    made = to_coreml(network, kind="neuralnetwork", precision=precision)
    path = save(made, tmp_path, ".mlmodel")
    assert path.stat().st_size < whole * (0.6 if precision == "fp16" else 0.45)
    values = layer_weights(path)
    assert len(values) == len(weights)
    for name, weight in weights.items():
        axis = AXES.get(name, 1)
        others = tuple(index for index in range(weight.ndim) if index != axis)
        # The scales of grouped transposed convolutions cover the whole weight.
        whole_weight = name.endswith("transposed") and name != "transposed"
        largest = np.abs(weight).max(axis=None if whole_weight else others, keepdims=True)
        allowed = step * largest * (1 + 1e-5) + (HALF * np.abs(weight) if precision == "fp16" else 1e-7)
        assert np.all(np.abs(found(values, weight) - weight) <= allowed), name


def test_neural_networks_keep_numbers_that_float16_cannot_hold(
    make_model: MakeModel, to_coreml: ToCoreML, tmp_path: Path
) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 8, 1, 1)).astype(np.float32)
    weight[0, 0] = 1e6
    numbers = np.arange(2040, 2060, dtype=np.float32).reshape(1, 1, 1, 20)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "numbers"], ["y"]),
    ]
    inputs = {"x": np.zeros((1, 8, 3, 20), np.float32)}
    model = make_model(nodes, inputs, ("y",), {"w": weight, "numbers": numbers})
    path = save(to_coreml(model, kind="neuralnetwork", precision="fp16"), tmp_path, ".mlmodel")
    [value] = layer_weights(path).values()
    assert np.array_equal(value, weight)
    layers = read_coreml(path).spec.neuralNetwork.layers
    [constant] = [layer.loadConstantND.data for layer in layers if layer.HasField("loadConstantND")]
    assert list(constant.floatValue) == numbers.reshape(-1).tolist()


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([np.float16, np.float32]).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            arrays.array_shapes(min_dims=2, max_dims=4, max_side=6),
            elements=st.floats(-6e4, 6e4, width=16, **FINITE)
            | st.floats(-(2.0**-20), 2.0**-20, width=16, **FINITE),
        )
    ),
    st.data(),
)
def test_quantize(weights: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, weights.ndim - 1))
    integers, scales = quantize(weights, axis)
    assert integers.dtype == np.int8
    assert integers.min() >= -127
    assert scales.dtype == weights.dtype
    assert scales.shape == (weights.shape[axis],)
    assert np.all(scales > 0)
    steps = scales.astype(np.float64).reshape([-1 if index == axis else 1 for index in range(weights.ndim)])
    assert np.all(np.abs(integers * steps - weights.astype(np.float64)) <= steps / 2 * (1 + 1e-12))
    assert not integers[weights == 0].any()


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([1, 2, 4, 6, 8]), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_packed_from_the_low_bits_on(bits: int, count: int, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(0, 1 << bits, count).astype(np.uint8)
    stream = sum(int(value) << (bits * place) for place, value in enumerate(indices))
    assert packed(indices, bits).tobytes() == stream.to_bytes(-(-count * bits // 8), "little")


@pytest.mark.parametrize(
    ("elements", "bits", "expected"), [(9, 16, 0), (10, 16, 128), (32, 16, 128), (33, 16, 192), (100, 4, 128)]
)
def test_stored_bytes(elements: int, bits: int, expected: int) -> None:
    assert stored_bytes(elements, bits) == expected
