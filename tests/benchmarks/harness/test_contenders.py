"""Real files and networks as contenders: what they are called, what ran them, what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from toolchain.benchmarks.harness import coreml_units
from toolchain.benchmarks.harness.contenders import open_contenders
from toolchain.benchmarks.harness.inputs import random_input
from toolchain.benchmarks.harness.invocation import invocation
from toolchain.benchmarks.harness.measure import Options, measure
from toolchain.errors import UnsupportedError, UsageError
from toolchain.runtimes import load
from toolchain.runtimes.torch_runtime import TorchRuntime
from toolchain.spec import ModelSpec, TensorSpec

BRIEF = Options(min_runs=3, min_seconds=0.0, warmup_seconds=0.05)


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    """An ONNX file whose input has an unknown size."""
    path = tmp_path / "dynamic.onnx"
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A Core ML file that adds one to its input."""
    import coremltools
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 4))])
    def graph(x):
        return Builder.add(x=x, y=np.float32(1), name="y")

    path = tmp_path / "adds.mlpackage"
    coremltools.convert(graph, convert_to="mlprogram", skip_model_load=True).save(str(path))
    return path


def test_a_tflite_an_onnx_file_and_a_network_are_measured_in_the_same_rounds(write_multiplication, cnn):
    threads = torch.get_num_threads()
    contenders = open_contenders([str(write_multiplication("m.tflite")), str(cnn), "lenet"], BRIEF)
    measured = measure(contenders, BRIEF)
    assert [one.name for one in contenders] == ["m.tflite", "cnn.onnx", "lenet"]
    assert [one.runtime.split()[0] for one in contenders] == ["LiteRT", "ONNX", "PyTorch"]
    assert contenders[0].runtime.endswith("XNNPACK")
    assert [one.threads for one in contenders] == [1, 1, 1]
    assert [one.timed.split(",")[0] for one in contenders] == [
        "Interpreter.invoke",
        "InferenceSession.run_with_iobinding",
        "the module's forward in inference mode",
    ]
    for found in measured:
        assert len(found.samples["inference"]) == 3
        inside, around = (np.array(found.samples[stage]) for stage in ("inference", "total"))
        assert (inside > 0).all()
        assert (inside <= around).all()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("kind", ["tflite", "onnx", "torch"])
def test_what_is_timed_computes_what_run_computes(kind, write_multiplication, cnn):
    """The innermost call leaves the same outputs behind as the runtime's public one."""
    if kind == "torch":
        spec = ModelSpec("net", "generic", (TensorSpec("x", (1, 4)),), (TensorSpec("y", (1, 4)),))
        runtime = TorchRuntime(torch.nn.Linear(4, 4), spec)
    else:
        runtime = load(write_multiplication("m.tflite", factor=3.0) if kind == "tflite" else cnn, 1)
    arrays = {spec.name: random_input(spec.shape, spec.dtype, 1) for spec in runtime.inputs}
    expected = runtime.run(arrays)
    runtime.run({name: np.zeros_like(array) for name, array in arrays.items()})
    found = invocation(runtime, arrays)()
    if kind == "torch":
        assert np.array_equal(found.numpy(), expected["y"])
    elif kind == "tflite":
        [index] = runtime._output_index.values()
        assert np.array_equal(runtime._interpreter.get_tensor(index), expected["y"])
        assert np.array_equal(expected["y"], arrays["x"] * np.float32(3))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["a/net.onnx", "b/net.onnx"], ["a/net.onnx", "b/net.onnx"]),
        (["a/net.onnx", "a/net.onnx"], ["a/net.onnx #1", "a/net.onnx #2"]),
        (["a/net.onnx", "b/other.onnx"], ["net.onnx", "other.onnx"]),
    ],
)
def test_names_are_short_and_differ(given, names, cnn, tmp_path, monkeypatch):
    for place in given:
        target = tmp_path / place
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(cnn.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert [one.name for one in open_contenders(given, BRIEF)] == names


def test_a_core_ml_file_elsewhere_than_on_a_mac_is_run_by_the_reference_and_says_so(program, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    [contender] = open_contenders([str(program)], BRIEF)
    [found] = measure([contender], BRIEF)
    entry = found.as_entry(contender.runtime, contender.threads, contender.file)
    assert entry.reference_interpreter
    assert entry.runtime.endswith("not Core ML")
    assert contender.file.format == "mlpackage"


def test_the_reference_interpreter_needs_no_coremltools_and_makes_no_noise(program):
    code = f"""
import sys
from toolchain.benchmarks.harness.contenders import open_contenders
from toolchain.benchmarks.harness.measure import Options, measure
options = Options(min_runs=1, min_seconds=0.0, warmup_seconds=0.0)
measure(open_contenders([{str(program)!r}], options), options)
print("torch" in sys.modules, "coremltools" in sys.modules)
"""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.split() == ["True", "True" if sys.platform == "darwin" else "False"]
    assert made.stderr == ""


def test_a_core_ml_file_on_a_mac_is_run_on_each_compute_unit(program, monkeypatch):
    import coremltools

    fed = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(
        coremltools.models,
        "MLModel",
        lambda path, compute_units: SimpleNamespace(
            predict=lambda feeds: fed.append((compute_units.name, feeds)) or {"y": 0}
        ),
    )
    contenders = open_contenders([str(program)], BRIEF)
    assert [one.name for one in contenders] == [f"adds.mlpackage [{unit}]" for unit in coreml_units.UNITS]
    measured = measure(contenders, BRIEF)
    entries = [one.as_entry(by.runtime, by.threads) for one, by in zip(measured, contenders, strict=True)]
    assert [entry.runtime.split(", ")[1] for entry in entries] == list(coreml_units.UNITS)
    assert not any(entry.reference_interpreter or entry.threads for entry in entries)
    assert {unit for unit, _ in fed} == set(coreml_units.UNITS)
    assert {feeds["x"].shape for _, feeds in fed} == {(1, 4)}


def test_a_runtime_that_fails_is_named(write_multiplication):
    [contender] = open_contenders([str(write_multiplication("m.tflite"))], BRIEF)
    contender.load()
    contender.prepare()

    def broken() -> None:
        raise RuntimeError("out of\nmemory")

    contender._invoke = broken
    with pytest.raises(UnsupportedError, match=r"'m.tflite' failed in LiteRT .*: out of memory"):
        contender.run()
    contender.close()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.tflite", None, "no model file at"),
        ("net.txt", b"text", "no suffix of a known model file"),
        ("lenett", None, "neither a file nor a network of the zoo"),
    ],
)
def test_what_is_no_artifact_is_refused_before_anything_is_loaded(
    name, content, message, cnn, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        open_contenders([str(cnn), name], BRIEF)


def test_a_damaged_file_is_one_clear_error(tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"not a flatbuffer")
    with pytest.raises(UnsupportedError, match=r"bad\.tflite"):
        measure(open_contenders([str(path)], BRIEF), BRIEF)


def test_a_dynamic_input_needs_its_shape(dynamic):
    with pytest.raises(UsageError, match=r"input 'x' of 'dynamic.onnx' has the shape 1x\?") as caught:
        measure(open_contenders([str(dynamic)], BRIEF), BRIEF)
    assert caught.value.hint == "--input-shape x=1,1"
    [found] = measure(open_contenders([str(dynamic)], BRIEF, (1, 64)), BRIEF)
    assert len(found.samples["total"]) == 3


@pytest.mark.parametrize(
    ("shapes", "message"),
    [((2, 64), "has the shape 1x\\?, not 2x64"), ((1,), "not 1"), ({"z": (1, 4)}, "has no input 'z'")],
)
def test_a_shape_that_does_not_fit_is_refused(shapes, message, dynamic):
    with pytest.raises(UsageError, match=message):
        measure(open_contenders([str(dynamic)], BRIEF, shapes), BRIEF)
