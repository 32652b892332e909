"""Quantized networks as 8-bit ML Programs: what is written is read back, run, and compared.

In float32 the program is the quantized graph: outputs are the same integers, up to values in the middle of
two steps. In float16, scales have 11 digits, and values beside the middle fall to the other step too, which
the next layers carry on: what is tolerated is stated in steps of the output, and against the float network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from toolchain.converters.coreml.convert import CoreMLModel, convert
from toolchain.converters.coreml.quantized_constants import on_grid, release_constants
from toolchain.converters.graph import clean
from toolchain.converters.graph.quantization import Quantization
from toolchain.converters.quantize.place import place_pairs
from toolchain.converters.quantize.scheme import Range
from toolchain.inspection import inspect_file
from toolchain.parity import compare, from_pixels, to_pixels
from toolchain.runtimes.coreml import CoreMLRuntime
from toolchain.runtimes.coreml_file import read_coreml
from toolchain.runtimes.mil.execute import to_tensor
from toolchain.runtimes.mil.program import read_program
from toolchain.spec import GENERIC, SEGMENTATION

Arrays = dict[str, np.ndarray]
MakeModel = Callable[..., onnx.ModelProto]


def weights() -> Arrays:
    """Of `network`; every channel has its own range."""
    random = np.random.default_rng(0)

    def made(*shape: int, gain: float = 1.0) -> np.ndarray:
        ranges = np.linspace(0.5, 1.5, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        fan = np.prod(shape[1:])
        return (random.standard_normal(shape) * ranges * gain / np.sqrt(fan)).astype(np.float32)

    return {
        "stem": made(16, 3, 3, 3, gain=2),
        "stem_bias": made(16),
        "wide": made(64, 16, 1, 1, gain=2),
        "depthwise": made(64, 1, 3, 3, gain=2),
        "narrow": made(16, 64, 1, 1),
        "up": made(16, 16, 2, 2),
        "matrix": made(10, 16, gain=2),
        "offset": made(10),
    }


@pytest.fixture
def network(make_model: MakeModel) -> onnx.ModelProto:
    """Convolutions of every kind, a residual addition, pools and a classifier, (1, 3, 16, 16) -> (1, 10)."""
    nodes = [
        helper.make_node("Conv", ["x", "stem", "stem_bias"], ["s"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["s"], ["a"]),
        helper.make_node("Conv", ["a", "wide"], ["b"]),
        helper.make_node("Clip", ["b", "zero", "six"], ["c"]),
        helper.make_node("Conv", ["c", "depthwise"], ["d"], pads=[1, 1, 1, 1], group=64),
        helper.make_node("Sigmoid", ["d"], ["gate"]),
        helper.make_node("Mul", ["d", "gate"], ["e"]),
        helper.make_node("Conv", ["e", "narrow"], ["f"]),
        helper.make_node("Add", ["f", "a"], ["g"]),
        helper.make_node("MaxPool", ["g"], ["h"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("ConvTranspose", ["h", "up"], ["i"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["i"], ["j"]),
        helper.make_node("Flatten", ["j"], ["k"]),
        helper.make_node("Gemm", ["k", "matrix", "offset"], ["y"], transB=1),
    ]
    constants = {**weights(), "zero": np.float32(0), "six": np.float32(6)}
    return make_model(nodes, {"x": np.zeros((1, 3, 16, 16), np.float32)}, ("y",), constants)


def pictures(count: int) -> list[Arrays]:
    random = np.random.default_rng(1)
    return [{"x": random.uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


def run_onnx(model: onnx.ModelProto, samples: list[Arrays]) -> list[Arrays]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return [dict(zip(names, session.run(names, sample), strict=True)) for sample in samples]


def placed(model: onnx.ModelProto, samples: list[Arrays], kept_float: tuple[str, ...] = ()) -> ir.Model:
    """The network with pairs, their ranges as they are on the samples."""
    graph = ir.serde.deserialize_model(model)
    clean(graph)
    whole = ir.serde.serialize_model(graph)
    watched = [value.name for node in graph.graph for value in node.outputs]
    inputs = {value.name for value in graph.graph.inputs}
    del whole.graph.output[:]
    whole.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in watched)
    runs = [{**sample, **made} for sample, made in zip(samples, run_onnx(whole, samples), strict=True)]
    found = {name: np.stack([run[name] for run in runs]) for name in {*watched, *inputs}}
    ranges = {name: Range(float(array.min()), float(array.max())) for name, array in found.items()}
    place_pairs(graph, ranges, kept_float)
    return graph


def saved(made: CoreMLModel, folder: Path, name: str = "model") -> Path:
    path = folder / f"{name}.mlpackage"
    made.model.save(str(path))
    return path


def run_coreml(path: Path, samples: list[Arrays]) -> list[Arrays]:
    with CoreMLRuntime(path) as runtime:
        return [runtime.run(sample) for sample in samples]


def stored_weights(path: Path) -> list[dict[str, np.ndarray]]:
    """Parameters of the operators that unpack weights, in order."""
    file = read_coreml(path)
    found = []
    for operation in read_program(file.spec.mlProgram, file.folder).block.operations:
        if operation.type.startswith("constexpr_"):
            given = dict(operation.attributes) | {name: items[0] for name, items in operation.inputs.items()}
            found.append({name: np.asarray(to_tensor(item.value, item.type)) for name, item in given.items()})
    return found


def steps_between(actual: list[Arrays], expected: list[Arrays]) -> np.ndarray:
    """Differences of the output `y`, in steps of its quantization."""
    wanted = np.stack([run["y"] for run in expected])
    values = np.unique(wanted)
    return np.abs(np.stack([run["y"] for run in actual]) - wanted) / np.diff(values).min()


def check_single(graph: ir.Model, samples: list[Arrays], expected: list[Arrays], folder: Path) -> None:
    """The program in float32 computes the same integers."""
    made = convert(graph, "fp32", ios=17)
    steps = steps_between(run_coreml(saved(made, folder, "single"), samples), expected)
    assert (steps <= 0.1).mean() >= 0.95
    assert steps.max() <= 1.1


def check_half(actual: list[Arrays], expected: list[Arrays], floats: list[Arrays]) -> None:
    """The file in float16 is about as near to the float network as the quantized graph is."""
    steps = steps_between(actual, expected)
    assert (steps <= 1.1).mean() >= 0.88
    assert (steps <= 2.1).mean() >= 0.97
    assert steps.max() <= 3.1
    whole, ours = compare(floats, expected, GENERIC), compare(floats, actual, GENERIC)
    assert ours.sqnr_db >= whole.sqnr_db - 2


@pytest.mark.parametrize("ios", [None, 18])
def test_placed_network(ios: int | None, network: onnx.ModelProto, tmp_path: Path) -> None:
    samples = pictures(24)
    graph = placed(network, samples)
    quantized = ir.serde.serialize_model(graph)
    pairs = sum(node.op_type == "QuantizeLinear" for node in graph.graph)
    expected = run_onnx(quantized, samples)
    check_single(graph.clone(), samples, expected, tmp_path)
    made = convert(graph, "int8", ios=ios)
    actual = run_coreml(saved(made, tmp_path), samples)
    check_half(actual, expected, run_onnx(network, samples))
    # One reshape moves integers, so that the pair behind it is gone; no other is.
    assert made.ops["quantize"] == pairs - 1
    assert made.ops["dequantize"] >= made.ops["quantize"]
    assert made.ops["cast"] == 2
    assert made.ios == (ios or 17)


@pytest.mark.parametrize("ios", [17, 18])
def test_weights_are_the_integers_of_the_graph(ios: int, network: onnx.ModelProto, tmp_path: Path) -> None:
    graph = placed(network, pictures(4))
    integers = {
        node.inputs[0].name: node.inputs[0].const_value.numpy()
        for node in graph.graph
        if node.op_type == "DequantizeLinear" and node.inputs[0].const_value is not None
    }
    wanted = [data for data in integers.values() if data.dtype == np.int8 and data.ndim > 1]
    made = convert(graph, "int8", ios=ios)
    assert made.weights.compressed == len(wanted) == 6
    assert made.weights.kept == []
    assert made.weights.elements == sum(data.size for data in wanted)
    found = stored_weights(saved(made, tmp_path))
    data = [parts["quantized_data" if ios == 17 else "data"] for parts in found]
    for want in wanted:
        assert any(have.shape == want.shape and np.array_equal(have, want) for have in data)


def test_layers_kept_float(network: onnx.ModelProto, tmp_path: Path) -> None:
    samples = pictures(8)
    cleaned = ir.serde.deserialize_model(network)
    clean(cleaned)
    [name] = [node.name for node in cleaned.graph if node.outputs[0].name == "f"]
    graph = placed(network, samples, (name,))
    expected = run_onnx(ir.serde.serialize_model(graph), samples)
    check_single(graph.clone(), samples, expected, tmp_path)
    made = convert(graph, "int8")
    [kept] = made.weights.kept
    assert (kept.elements, kept.reason) == (64 * 16, "is float in the quantized network")
    assert made.weights.compressed == 5
    check_half(run_coreml(saved(made, tmp_path), samples), expected, run_onnx(network, samples))


@pytest.mark.parametrize(
    ("activations", "stored", "per_channel"),
    [("QInt8", "QInt8", True), ("QUInt8", "QInt8", True), ("QUInt8", "QUInt8", False)],
)
def test_networks_of_another_quantizer(
    activations: str, stored: str, per_channel: bool, network: onnx.ModelProto, tmp_path: Path
) -> None:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.samples = iter(pictures(8))

        def get_next(self) -> Arrays | None:
            return next(self.samples, None)

    source, target = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(network, source)
    quantization.quantize_static(
        str(source),
        str(target),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=getattr(quantization.QuantType, activations),
        weight_type=getattr(quantization.QuantType, stored),
        per_channel=per_channel,
    )
    samples = pictures(8)
    expected = run_onnx(onnx.load(target), samples)
    graph = ir.load(target)
    clean(graph)
    check_single(graph.clone(), samples, expected, tmp_path)
    made = convert(graph, "int8")
    assert made.weights.compressed == 6
    assert made.weights.kept == []
    check_half(run_coreml(saved(made, tmp_path), samples), expected, run_onnx(network, samples))


def test_inspection_and_size(make_model: MakeModel, tmp_path: Path) -> None:
    """A layer with many weights, whose file is about as large as they are."""
    random = np.random.default_rng(2)
    constants = {
        "w": random.standard_normal((256, 128, 3, 3)).astype(np.float32),
        "b": random.standard_normal(256).astype(np.float32),
    }
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"])
    samples = [{"x": random.standard_normal((1, 128, 4, 4)).astype(np.float32)}]
    model = make_model(node, {"x": samples[0]["x"]}, ("y",), constants)
    cleaned = ir.serde.deserialize_model(model)
    clean(cleaned)
    paths = [saved(convert(cleaned.clone(), name), tmp_path, name) for name in ("fp32", "fp16")]
    made = convert(placed(model, samples), "int8")
    found = [inspect_file(path) for path in (*paths, saved(made, tmp_path, "int8"))]
    assert [report.parameters for report in found] == [256 * 128 * 9 + 256] * 3
    assert [report.macs for report in found] == [256 * 128 * 9 * 4] * 3
    single, half, integer = (report.bytes for report in found)
    assert integer / single <= 0.27
    assert integer / half <= 0.54
    assert found[2].ops["quantize"] == 2


def test_scales_of_axes_are_no_parameters(make_model: MakeModel, tmp_path: Path) -> None:
    constants = {"s": np.array([0.1, 0.2, 0.4], np.float32), "z": np.zeros(3, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    model = make_model(nodes, {"x": np.zeros((1, 3, 2, 2), np.float32)}, ("y",), constants)
    made = convert(ir.serde.deserialize_model(model), "int8")
    report = inspect_file(saved(made, tmp_path))
    assert report.parameters == 0
    assert report.ops == {"cast": 2, "quantize": 1, "dequantize": 1}


@given(
    shape=st.sampled_from([(4, 3, 2, 2), (3, 4), (5, 1, 3, 3), (2, 3, 5)]),
    zero=st.integers(-128, 127),
    largest=st.floats(-18, 4),
    single=st.booleans(),
    unsigned=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_grid(
    shape: tuple[int, ...], zero: int, largest: float, single: bool, unsigned: bool, seed: int
) -> None:
    """What float16 leaves of integers times scales comes back as these integers; the scales as float16."""
    random = np.random.default_rng(seed)
    axis = int(random.integers(len(shape)))
    count = 1 if single else shape[axis]
    dtype = np.dtype(np.uint8 if unsigned else np.int8)
    limits = np.iinfo(dtype)
    scale = (2.0 ** (largest - random.uniform(0, 3, count))).astype(np.float32)
    points = np.full(count, zero + 128 if unsigned else zero, np.int64)
    grid = Quantization(scale, points, dtype, None if single else axis)
    data = random.integers(limits.min, limits.max + 1, shape).astype(dtype)
    real = grid.real(data)
    made = on_grid(real.astype(np.float16), axis, [Quantization(scale * 1.5, points, dtype, None), grid])
    assert made is not None
    place = None if len(made.scale) == 1 else made.axis
    decoded = Quantization(made.scale.astype(np.float32), made.zero_point.astype(np.int64), dtype, place)
    # Scales of subnormal float16 numbers are coarse; then the integers follow.
    coarse = np.maximum(scale.max() / 2, 2.0**-24)
    exact = scale.min() >= 2.0**-14
    assert not exact or np.array_equal(made.data, data)
    allowed = np.abs(real) * 2**-10 + (2.0**-24 if exact else coarse)
    assert (np.abs(decoded.real(made.data) - real) <= allowed).all()


def test_weights_that_lie_on_no_grid() -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((4, 8, 3, 3)).astype(np.float16)
    scale = np.abs(weight.astype(np.float32)).max(axis=(1, 2, 3)) / 127
    grid = Quantization(scale, np.zeros(4, np.int64), np.dtype(np.int8), 0)
    assert on_grid(weight, 0, [grid]) is None
    assert on_grid(np.full((2, 2), np.inf, np.float16), 0, [grid]) is None
    # A finer grid does not reach.
    assert (
        on_grid(weight, 0, [Quantization(scale[:1] / 64, np.zeros(1, np.int64), np.dtype(np.int8))]) is None
    )


def test_constants_become_floats(make_model: MakeModel) -> None:
    random = np.random.default_rng(0)
    constants = {
        "w": random.integers(-127, 128, (4, 3, 1, 1)).astype(np.int8),
        "ws": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        "wz": np.zeros(4, np.int8),
        "b": random.integers(-(10**6), 10**6, 4).astype(np.int32),
        "bs": np.array([1e-4, 2e-4, 3e-4, 4e-4], np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bf"], axis=0),
        helper.make_node("Conv", ["x", "wf", "bf"], ["y"]),
    ]
    sample = {"x": random.standard_normal((1, 3, 2, 2)).astype(np.float32)}
    model = make_model(nodes, sample, ("y",), constants)
    [expected] = run_onnx(model, [sample])
    graph = ir.serde.deserialize_model(model)
    [grid] = release_constants(graph.graph)
    assert grid.axis == 0
    np.testing.assert_array_equal(grid.scale, constants["ws"])
    assert [node.op_type for node in graph.graph] == ["Conv"]
    [actual] = run_onnx(ir.serde.serialize_model(graph), [sample])
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-6)


def test_face_parser(data_folder: Path | None, tmp_path: Path) -> None:
    """The trained network with the ranges of its card, on validation pictures where there are some."""
    import coremltools

    from toolchain.export import clean_graph
    from toolchain.samples import samples
    from toolchain.source import resolve

    source = resolve("mobile-hourglass")
    card, preprocess = source.card, source.spec.preprocess
    assert card is not None
    assert preprocess is not None
    graph = clean_graph(source)
    cleaned = ir.serde.serialize_model(graph)
    place_pairs(graph, {name: Range(*found) for name, found in card["calibration"]["ranges"].items()})
    quantized = ir.serde.serialize_model(graph)
    made = convert(graph, "int8", spec=source.spec)
    path = saved(made, tmp_path)
    assert coremltools.models.MLModel(str(path), skip_model_load=True).get_spec().specificationVersion == 8
    image, previous = made.inputs
    assert (image.image, image.dtype, previous.dtype) == ("RGB", "uint8", "float32")
    assert made.weights.kept == []

    place = None if data_folder is None else f"celebamask:{data_folder / 'celebamask_hq_256.zip'}"
    zeros = np.zeros(previous.shape, np.float32)
    pixels = [to_pixels(feed[image.name], preprocess) for feed in samples(source.spec, place, 2)[0]]
    feeds = [{image.name: from_pixels(p, preprocess), previous.name: zeros} for p in pixels]
    floats, expected = run_onnx(cleaned, feeds), run_onnx(quantized, feeds)
    shown = [{image.name: p.transpose(0, 2, 3, 1), previous.name: zeros} for p in pixels]
    actual = run_coreml(path, shown)
    whole, ours = compare(floats, expected, SEGMENTATION), compare(floats, actual, SEGMENTATION)
    assert whole.agreement is not None
    assert ours.agreement is not None
    assert ours.agreement >= 0.99
    assert ours.agreement >= whole.agreement - 0.002
    assert ours.sqnr_db >= whole.sqnr_db - 0.5
