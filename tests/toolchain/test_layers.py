"""What `layer_table` finds in files: noise where it was put, saturation, ranges; CSV and Model Explorer."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.converters.quantize.place import place_pairs
from toolchain.converters.quantize.scheme import Range
from toolchain.converters.tflite import convert
from toolchain.errors import UnsupportedError, UsageError
from toolchain.explorer import write_explorer
from toolchain.export import clean_graph
from toolchain.layer_pairs import BY_NAME, BY_VALUE, RESCALED
from toolchain.layers import Layer, LayerTable, layer_table, write_csv
from toolchain.quantize import QuantizeOptions, quantized_graph
from toolchain.source import Source, resolve

CHANNELS = 8
SIZE = 12


def build(folder: Path, outlier: float = 0.0) -> Path:
    """Three convolutions with ReLUs; the second meets a channel of zeros with weights `outlier`."""
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> np.ndarray:
        return random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)

    first, second = weights("w1", CHANNELS, 3, 3, 3), weights("w2", CHANNELS, CHANNELS, 3, 3)
    third = weights("w3", 5, CHANNELS, 1, 1)
    first[0] = 0
    second[:, 0] = outlier
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu_1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu_2"),
        helper.make_node("MaxPool", ["r2"], ["p2"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p2", "w3"], ["scores"], name="third"),
    ]
    graph = helper.make_graph(
        nodes,
        "three",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5, SIZE // 2, SIZE // 2])],
        [numpy_helper.from_array(a, n) for n, a in (("w1", first), ("w2", second), ("w3", third))],
    )
    path = folder / "three.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    np.savez(folder / "data.npz", image=random.standard_normal((16, 3, SIZE, SIZE)).astype(np.float32))
    return path


def pairs_of(source: Source, folder: Path, **options: object) -> ir.Model:
    chosen = QuantizeOptions(calibration=folder / "data.npz", equalize=False, **options)  # type: ignore[arg-type]
    return quantized_graph(source, clean_graph(source), "int8", chosen)


def as_tflite(pairs: ir.Model, folder: Path, **options: object) -> Path:
    path = folder / "net.tflite"
    path.write_bytes(convert(pairs, "int8", **options).data)  # type: ignore[arg-type]
    return path


def as_onnx(pairs: ir.Model, folder: Path, **_options: object) -> Path:
    path = folder / "net.onnx"
    ir.save(pairs, path)
    return path


def table_of(path: Path, source: Source, folder: Path) -> tuple[LayerTable, dict[str, Layer]]:
    table = layer_table(path, source, folder / "data.npz", 4)
    return table, {layer.value: layer for layer in table.layers}


WRITERS = [as_tflite, as_onnx]


@pytest.mark.parametrize("write", WRITERS)
def test_the_layer_with_the_outlier_is_the_worst(write: Callable[..., Path], tmp_path: Path) -> None:
    source = resolve(build(tmp_path, outlier=40.0))
    table, layers = table_of(write(pairs_of(source, tmp_path), tmp_path), source, tmp_path)
    assert table.layers[0].value == "r2"
    assert table.unmatched == []
    assert set(layers) == {"image", "r1", "r2", "p2", "scores"}
    # All of its noise is its own; those behind it hand it on and add little.
    assert layers["r2"].own_sqnr_db < 15
    assert layers["r2"].sqnr_db == pytest.approx(layers["r2"].own_sqnr_db, abs=0.5)
    assert layers["scores"].sqnr_db < 20 < 30 < layers["scores"].own_sqnr_db
    assert layers["r1"].own_sqnr_db > 30
    assert layers["p2"].own_sqnr_db == math.inf


@pytest.mark.parametrize("write", WRITERS)
def test_without_outlier_no_layer_stands_out(write: Callable[..., Path], tmp_path: Path) -> None:
    source = resolve(build(tmp_path))
    table, _ = table_of(write(pairs_of(source, tmp_path), tmp_path), source, tmp_path)
    assert min(layer.own_sqnr_db for layer in table.layers) > 30
    assert all(layer.matched == BY_NAME for layer in table.layers)


def test_figures_of_the_last_layer_are_those_of_a_run(tmp_path: Path) -> None:
    """SQNR, range and ends computed again from the file's answers."""
    from toolchain.runtimes import load

    source = resolve(build(tmp_path))
    path = as_tflite(pairs_of(source, tmp_path), tmp_path, io="int8")
    table, layers = table_of(path, source, tmp_path)
    found = layers["scores"]
    assert (found.dtype, table.samples, found.op) == ("int8", 4, "CONV_2D")
    codes, signal, noise = [], 0.0, 0.0
    with load(path, delegate=False) as file, load(tmp_path / "three.onnx") as network:
        given, made = file.inputs[0], file.outputs[0]
        assert (found.scale, found.zero_point) == (made.scale, made.zero_point)
        for picture in np.load(tmp_path / "data.npz")["image"][:4]:
            expected = network.run({"image": picture[None]})["scores"]
            stored = np.rint(np.moveaxis(picture[None], 1, -1) / given.scale) + given.zero_point
            answer = file.run({given.name: np.clip(stored, -128, 127).astype(np.int8)})[made.name]
            codes.append(np.moveaxis(answer, -1, 1))
            real = (codes[-1].astype(float) - made.zero_point) * made.scale
            signal += np.square(expected, dtype=float).sum()
            noise += np.square(expected - real).sum()
    every = np.array(codes)
    assert found.sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.01)
    assert found.range_used == (int(every.max()) - int(every.min()) + 1) / 256
    assert found.at_ends == ((every == -128) | (every == 127)).mean()


@pytest.mark.parametrize("write", WRITERS)
def test_a_range_that_is_too_narrow_saturates(write: Callable[..., Path], tmp_path: Path) -> None:
    source = resolve(build(tmp_path))
    graph = clean_graph(source)
    wide = {name: Range(-8.0, 8.0) for name in ("image", "r1", "r2", "p2", "scores", "c1", "c2")}
    wide["r1"] = Range(0.0, 0.5)
    place_pairs(graph, wide)
    _, layers = table_of(write(graph, tmp_path), source, tmp_path)
    feeds = np.load(tmp_path / "data.npz")["image"][:4]
    from toolchain.runtimes.onnx_runtime import OnnxRuntime

    model = onnx.load(tmp_path / "three.onnx")
    model.graph.output.append(helper.make_empty_tensor_value_info("r1"))
    with OnnxRuntime(model.SerializeToString()) as network:
        true = np.concatenate([network.run({"image": picture[None]})["r1"] for picture in feeds])
    assert layers["r1"].saturated == pytest.approx((true > 0.5 + 0.25 / 255).mean(), abs=2e-3)
    assert layers["r1"].saturated > 0.2
    assert layers["r1"].range_used == 1.0
    # Zeros of a ReLU are the smallest number, and nothing is lost.
    assert layers["r2"].saturated == 0.0
    assert layers["r2"].range_used < 0.5


def test_float_layers_have_noise_and_no_range(tmp_path: Path) -> None:
    source = resolve(build(tmp_path, outlier=40.0))
    pairs = pairs_of(source, tmp_path, kept_float=["second"])
    _, layers = table_of(as_tflite(pairs, tmp_path, kept_float=["second"]), source, tmp_path)
    kept = next(layer for layer in layers.values() if layer.op == "CONV_2D" and layer.dtype == "float32")
    assert kept.value == "r2"
    assert (kept.range_used, kept.saturated, kept.scale) == (None, None, None)
    assert kept.own_sqnr_db > 100 > 60 > kept.sqnr_db > 30


def test_foreign_names_are_found_by_their_numbers(tmp_path: Path) -> None:
    """Files of other converters name tensors as they like."""
    source = resolve(build(tmp_path))
    pairs = pairs_of(source, tmp_path)
    for node in pairs.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = f"tensor_{value.name}"
    table, layers = table_of(as_tflite(pairs, tmp_path), source, tmp_path)
    assert {layer.tensor: layer.value for layer in table.layers if layer.matched == BY_VALUE} == {
        "tensor_r1": "r1",
        "tensor_r2": "r2",
        "tensor_p2": "p2",
    }
    assert min(layer.own_sqnr_db for layer in layers.values()) > 30


@pytest.mark.parametrize(("factors", "matched"), [(np.geomspace(0.3, 3, CHANNELS), RESCALED), (2.0, BY_NAME)])
def test_rescaled_channels_are_told_from_a_wrong_scale(
    factors: np.ndarray | float, matched: str, tmp_path: Path
) -> None:
    """Factors that the next layer undoes are equalization; one factor for all is shown as an error."""
    source = resolve(build(tmp_path))
    scaled = onnx.load(tmp_path / "three.onnx")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in scaled.graph.initializer}
    column = np.broadcast_to(np.asarray(factors, np.float32), (CHANNELS,))
    weights["w1"] = weights["w1"] * column[:, None, None, None]
    weights["w2"] = weights["w2"] / column[None, :, None, None]
    del scaled.graph.initializer[:]
    scaled.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in weights.items())
    (tmp_path / "scaled").mkdir()
    onnx.save(scaled, tmp_path / "scaled" / "three.onnx")
    pairs = pairs_of(resolve(tmp_path / "scaled" / "three.onnx"), tmp_path)
    _, layers = table_of(as_tflite(pairs, tmp_path), source, tmp_path)
    assert layers["r1"].matched == matched
    assert (layers["r1"].sqnr_db > 20) == (matched == RESCALED)
    assert layers["scores"].sqnr_db > 20


def test_moved_channels_and_flattened_pictures_are_seen_as_they_are(tmp_path: Path) -> None:
    """Two convolutions and a linear layer without activations, whose channels lie apart: these are moved."""
    random = np.random.default_rng(0)
    first, second, last = (
        random.normal(0, 0.3, shape).astype(np.float32) for shape in ((8, 3, 3, 3), (6, 8, 3, 3), (5, 96))
    )
    bias = np.linspace(-20, 20, 8).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="first"),
        helper.make_node("MaxPool", ["c1"], ["p1"], name="pool", kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], name="second", strides=[2, 2]),
        helper.make_node("Flatten", ["c2"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w3"], ["scores"], name="last", transB=1),
    ]
    arrays = (("w1", first), ("b1", bias), ("w2", second), ("w3", last))
    graph = helper.make_graph(
        nodes,
        "moved",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(array, name) for name, array in arrays],
    )
    path = tmp_path / "moved.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    data = random.standard_normal((16, 3, SIZE, SIZE)).astype(np.float32)
    np.savez(tmp_path / "data.npz", image=data)
    source = resolve(path)
    options = QuantizeOptions(calibration=tmp_path / "data.npz", method="minmax")
    pairs = quantized_graph(source, clean_graph(source), "int8", options)
    _, layers = table_of(as_tflite(pairs, tmp_path), source, tmp_path)
    assert layers["c1"].matched == layers["p1"].matched == RESCALED
    assert layers["flat"].matched == BY_NAME
    assert min(layer.sqnr_db for layer in layers.values()) > 25
    assert min(layer.own_sqnr_db for layer in layers.values()) > 25


def test_sixteen_bits_are_thirty_decibels_better(tmp_path: Path) -> None:
    source = resolve(build(tmp_path))
    options = QuantizeOptions(calibration=tmp_path / "data.npz", equalize=False)
    path = tmp_path / "net16.tflite"
    pairs = quantized_graph(source, clean_graph(source), "int16x8", options)
    path.write_bytes(convert(pairs, "int16x8").data)
    _, wide = table_of(path, source, tmp_path)
    _, narrow = table_of(as_tflite(pairs_of(source, tmp_path), tmp_path), source, tmp_path)
    assert {layer.dtype for layer in wide.values()} == {"int16"}
    assert wide["image"].sqnr_db > narrow["image"].sqnr_db + 30
    # Weights have eight bits in both.
    assert wide["scores"].sqnr_db > narrow["scores"].sqnr_db
    assert wide["image"].range_used == pytest.approx(65535 / 65536, abs=0.3)


def test_pixels_as_they_come_are_a_form_of_the_input(tmp_path: Path) -> None:
    """A uint8 input becomes int8 without loss: one value, and no noise of its own behind."""
    source = resolve(build(tmp_path))
    table, _ = table_of(as_tflite(pairs_of(source, tmp_path), tmp_path, io="uint8"), source, tmp_path)
    found = {layer.tensor: layer for layer in table.layers if layer.op == "QUANTIZE"}
    assert {layer.value for layer in found.values()} == {"image", "scores"}
    assert {layer.dtype for layer in found.values()} == {"int8", "uint8"}
    last = next(layer for layer in found.values() if layer.value == "scores")
    assert last.own_sqnr_db == math.inf


def test_csv_has_every_layer_and_explorer_its_output(tmp_path: Path) -> None:
    source = resolve(build(tmp_path, outlier=40.0))
    table, _ = table_of(as_tflite(pairs_of(source, tmp_path), tmp_path), source, tmp_path)
    write_csv(table, tmp_path / "layers.csv")
    with (tmp_path / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["tensor"] for row in rows] == [layer.tensor for layer in table.layers]
    assert float(rows[0]["own_sqnr_db"]) == table.layers[0].own_sqnr_db
    assert rows[-1]["own_sqnr_db"] == ""
    assert rows[0]["shape"] == f"1x{SIZE}x{SIZE}x{CHANNELS}"
    write_explorer(table, tmp_path / "layers.json")
    shown = json.loads((tmp_path / "layers.json").read_text())
    values = {name: result["value"] for name, result in shown["results"].items()}
    assert min(values, key=values.__getitem__) == "r2"
    assert values["p2"] == 80.0
    assert [item["stop"] for item in shown["gradient"]] == [0, 0.5, 1]


def test_refusals(tmp_path: Path) -> None:
    source = resolve(build(tmp_path))
    with pytest.raises(UsageError, match="no model file"):
        layer_table(tmp_path / "none.tflite", source)
    (tmp_path / "net.mlmodel").write_bytes(b"")
    with pytest.raises(UsageError, match=r"give a \.tflite or \.onnx|cannot be looked at"):
        layer_table(tmp_path / "net.mlmodel", source)
    with pytest.raises(UnsupportedError, match="no tensor between"):
        layer_table(tmp_path / "three.onnx", source)
    path = as_tflite(pairs_of(source, tmp_path), tmp_path)
    other = replace(source, spec=replace(source.spec, inputs=source.spec.inputs * 2))
    with pytest.raises(UsageError, match="inputs"):
        layer_table(path, other)
