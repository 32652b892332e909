"""The conversion benchmark on a small network: what it measures, and how it fails."""

from __future__ import annotations

import json

import onnx_ir as ir
import pytest

from toolchain.benchmarks import conversion
from toolchain.benchmarks.conversion import main
from toolchain.converters.graph import clean
from toolchain.converters.tflite import convert
from toolchain.converters.torch_to_onnx import torch_to_onnx
from toolchain.errors import UnsupportedError, UsageError
from toolchain.models import zoo

NAME = "lenet"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("results") / "conversion.json"
    assert main([NAME, "--repeats", "2", "--output", str(path)]) == 0
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def size() -> int:
    entry = zoo().get(NAME)
    model = torch_to_onnx(entry.build(), entry.spec.inputs, [tensor.name for tensor in entry.spec.outputs])
    clean(model)
    return len(convert(model, precision="fp32").data)


def test_size_is_that_of_the_converted_file(report, size):
    assert report["model_megabytes"] == pytest.approx(size / 1e6, abs=0.002)
    assert report["onnx_megabytes"] > 0


@pytest.mark.parametrize(
    "key", ["seconds", "clean_seconds", "convert_seconds", "cpu_seconds", "warm_seconds"]
)
def test_times_come_from_every_repetition(report, key):
    assert len(report[key]["all"]) == 2
    assert min(report[key]["all"]) > 0
    assert report[key]["median"] == pytest.approx(sum(report[key]["all"]) / 2, abs=1e-3)


def test_total_is_the_sum_of_the_stages(report):
    stages = zip(report["clean_seconds"]["all"], report["convert_seconds"]["all"], strict=True)
    assert report["seconds"]["all"] == pytest.approx([sum(pair) for pair in stages], abs=1e-3)


def test_memory_is_that_of_a_process_without_torch(report):
    assert 0 < report["baseline_megabytes"] <= report["peak_megabytes"]
    assert report["environment"]["versions"]["onnx-ir"]


def test_standard_output_is_one_json_document(capfd):
    assert main([NAME, "--repeats", "1"]) == 0
    assert json.loads(capfd.readouterr().out)["name"] == NAME


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lennet"], "unknown model 'lennet'"),
        ([NAME, "--repeats", "0"], "repeats must be at least 1"),
        ([NAME, "--repeats", "1", "--precision", "fp8"], "precision 'fp8'"),
    ],
)
def test_wrong_arguments_end_with_the_exit_code_of_the_cause(arguments, message, capfd):
    assert main(arguments) == UsageError.exit_code
    assert message in capfd.readouterr().err


def test_refusal_in_a_fresh_process_keeps_its_message_and_exit_code(tmp_path):
    x, y = ir.val("x", ir.DataType.FLOAT, [1, 4]), ir.val("y", ir.DataType.FLOAT, [1, 4])
    graph = ir.Graph(
        [x], [y], nodes=[ir.node("Det2", [x], outputs=[y], domain="test")], opset_imports={"": 18, "test": 1}
    )
    path = tmp_path / "unknown.onnx"
    ir.save(ir.Model(graph, ir_version=10), path)
    with pytest.raises(conversion.ToolchainError, match="Det2") as caught:
        conversion._in_fresh_process(path, "fp32", "tflite")
    assert caught.value.exit_code == UnsupportedError.exit_code


def test_a_package_is_saved_as_well():
    found = conversion.measure("lenet", repeats=1, format_="coreml")
    assert found["precision"] == "fp16"
    # 430,500 weights of two bytes.
    assert 0.861 < found["model_megabytes"] < 0.9
    assert found["import_seconds"]["median"] > 0


def test_an_unknown_format_is_named():
    with pytest.raises(UsageError, match="'pb'"):
        conversion.measure("lenet", repeats=1, format_="pb")
