"""How the report of a quantized file is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolchain.cli.integer_report import show_integer_report
from toolchain.converters.tflite import TFLiteModel, convert
from toolchain.export import clean_graph
from toolchain.float_islands import Island, Mixture
from toolchain.integer_summary import integer_summary
from toolchain.quantize import QuantizeOptions, quantized_graph
from toolchain.source import resolve


@pytest.fixture
def with_atan(tmp_path: Path) -> TFLiteModel:
    """Conv, Atan (which has no integer kernel), Conv; int8 inputs and outputs."""
    random = np.random.default_rng(0)
    weights = {
        name: random.standard_normal(shape).astype(np.float32) * 0.3
        for name, shape in (("w1", (8, 3, 3, 3)), ("w2", (5, 8, 1, 1)), ("b2", (5,)))
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1"], ["c1"], name="first", pads=[1, 1, 1, 1]),
            helper.make_node("Atan", ["c1"], ["a1"], name="bend"),
            helper.make_node("Conv", ["a1", "w2", "b2"], ["scores"], name="second"),
        ],
        "bent",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5, 8, 8])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    path = tmp_path / "bent.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    np.savez(tmp_path / "data.npz", image=random.standard_normal((8, 3, 8, 8)).astype(np.float32))
    source = resolve(path)
    options = QuantizeOptions(calibration=tmp_path / "data.npz")
    pairs = quantized_graph(source, clean_graph(source), "int8", options)
    return convert(pairs, "int8", io="int8", allow_float=["Atan"])


def test_text(with_atan: TFLiteModel, capsys) -> None:
    report = with_atan.report
    assert report is not None
    show_integer_report(report)
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert "integer ops: 2 (2 CONV_2D)" in shown
    assert "between floats and integers: 1 DEQUANTIZE, 1 QUANTIZE" in shown
    islands = [line for line in lines if line[2:4] == ["bend", "Atan"]]
    assert islands
    assert all(line[1].isdigit() and len(line) > 5 for line in islands)
    assert f"quantized bytes: {report.quantized_bytes} of {len(with_atan.data)} (" in shown
    entry = with_atan.inputs[0]
    assert ["image", "int8", f"{entry.scale:.6g}", str(entry.zero_point)] in lines


def test_json(with_atan: TFLiteModel) -> None:
    assert with_atan.report is not None
    found = json.loads(json.dumps(integer_summary(with_atan.report)))
    assert found["integer_ops"] == {"CONV_2D": 2}
    # Weights: 8 * 27 + 5 * 8 bytes; biases: 8 + 5 of four bytes.
    assert found["quantized_bytes"] == 216 + 40 + 4 * 13
    assert found["total_bytes"] == len(with_atan.data)
    assert {operator["node"] for operator in found["float_ops"]} == {"bend"}
    assert all(operator["reason"] for operator in found["float_ops"])
    assert [border["name"] for border in found["borders"]] == ["image", "scores"]
    assert [border["dtype"] for border in found["borders"]] == ["int8", "int8"]


def test_no_float_operators_are_said(with_atan: TFLiteModel, cnn: Path, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "cnn.npz", image=np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype("f"))
    source = resolve(cnn)
    options = QuantizeOptions(calibration=tmp_path / "cnn.npz")
    made = convert(quantized_graph(source, clean_graph(source), "int8", options), "int8")
    assert made.report is not None
    show_integer_report(made.report)
    shown = capsys.readouterr().out
    assert "float ops: none" in shown
    assert ["image", "float32", "-", "-"] in [line.split() for line in shown.splitlines()]


MIXTURE = Mixture(
    (
        Island(("softmax", "softmax_2"), ("MUL", "SOFTMAX"), (1, 3, 196, 196), 2, 0.25, 0.07, True),
        Island(("long",), ("ADD",) * 6, (1, 196, 192), 1, 0.14, 0.1321, False),
    ),
    ("softmax", "softmax_2"),
    ("bend",),
    2.9,
    1.7,
    1.14,
    True,
)


def test_what_was_measured_is_shown(with_atan: TFLiteModel, capsys) -> None:
    assert with_atan.report is not None
    show_integer_report(with_atan.report, MIXTURE)
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert ["MUL,", "SOFTMAX", "1x3x196x196", "2", "0.25", "0.07", "float"] in lines
    assert [*("ADD,",) * 3, "ADD", "and", "2", "more", "1x196x192", "1", "0.14", "0.132", "integer"] in lines
    assert "fp32 2.9 ms, integers 1.7 ms, with islands of floats 1.14 ms; chosen: the islands" in shown


def test_islands_that_were_not_taken_are_integer(with_atan: TFLiteModel, capsys) -> None:
    assert with_atan.report is not None
    show_integer_report(with_atan.report, replace(MIXTURE, taken=False))
    shown = capsys.readouterr().out
    assert "chosen: integers" in shown
    assert not [line for line in shown.splitlines() if line.split()[-1:] == ["float"]]


def test_what_was_measured_is_in_the_json(with_atan: TFLiteModel) -> None:
    assert with_atan.report is not None
    found = json.loads(json.dumps(integer_summary(with_atan.report, MIXTURE)))["measured"]
    assert (found["fp32_ms"], found["integer_ms"], found["mixed_ms"], found["taken"]) == (
        2.9,
        1.7,
        1.14,
        True,
    )
    assert found["islands"][0]["ops"] == ["MUL", "SOFTMAX"]
    assert found["islands"][0]["nodes"] == ["softmax", "softmax_2"]
    assert "measured" not in integer_summary(with_atan.report)
