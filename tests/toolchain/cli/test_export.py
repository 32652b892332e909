"""`toolchain export` as a user types it: what it prints, writes, and refuses."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import toolchain
from toolchain.cli import run
from toolchain.spec import load_sidecar


def test_onnx_file_becomes_files_that_compute_the_same(cnn: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    code = run(["export", str(cnn), "-f", "tflite", "-f", "onnx", "-o", str(output), "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [Path(row["path"]).name for row in rows] == ["cnn-fp32.tflite", "cnn-fp32.onnx"]
    x = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    expected = onnxruntime.InferenceSession(cnn).run(None, {"image": x})[0]
    with toolchain.load(output / "cnn-fp32.tflite") as net:
        actual = net.run({"image": x.transpose(0, 2, 3, 1)})["scores"]
    np.testing.assert_allclose(actual.transpose(0, 3, 1, 2), expected, rtol=1e-4, atol=1e-5)
    with toolchain.load(output / "cnn-fp32.onnx") as net:
        np.testing.assert_allclose(net.run({"image": x})["scores"], expected, rtol=1e-4, atol=1e-5)
    for row in rows:
        assert row["parity"]["sqnr_db"] == "inf" or row["parity"]["sqnr_db"] >= 100
        assert {"graph", "convert", "verify"} <= set(row["seconds"])


def test_sidecar_states_the_contract(cnn: Path, tmp_path: Path) -> None:
    assert run(["export", str(cnn), "-f", "tflite", "-o", str(tmp_path)]) == 0
    path = tmp_path / "cnn-fp32.tflite"
    sidecar = load_sidecar(path)
    assert sidecar.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sidecar.bytes == path.stat().st_size
    assert sidecar.inputs[0].shape == (1, 16, 16, 3)
    assert sidecar.inputs[0].layout == "NHWC"
    assert sidecar.outputs[0].name == "scores"
    assert sidecar.ops == {"CONV_2D": 2, "MAX_POOL_2D": 1}
    assert "torch" in sidecar.versions
    # The contract travels inside the file too.
    assert b'"name": "cnn"' in path.read_bytes()


def test_layout_nchw_keeps_the_onnx_shapes(cnn: Path, tmp_path: Path) -> None:
    assert run(["export", str(cnn), "-f", "tflite", "--layout", "nchw", "-o", str(tmp_path)]) == 0
    x = np.random.default_rng(2).standard_normal((1, 3, 16, 16)).astype(np.float32)
    expected = onnxruntime.InferenceSession(cnn).run(None, {"image": x})[0]
    with toolchain.load(tmp_path / "cnn-fp32.tflite") as net:
        np.testing.assert_allclose(net.run({"image": x})["scores"], expected, rtol=1e-4, atol=1e-5)


def test_fp16_stores_half_the_weights_and_passes_its_gate(cnn: Path, tmp_path: Path) -> None:
    assert run(["export", str(cnn), "-p", "fp16", "-f", "tflite", "-o", str(tmp_path)]) == 0
    sidecar = load_sidecar(tmp_path / "cnn-fp16.tflite")
    assert sidecar.parity is not None
    assert 45 <= sidecar.parity.sqnr_db < 100
    assert sidecar.ops["DEQUANTIZE"] >= 2
    assert sidecar.inputs[0].dtype == "float32"


FACTORY = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 7)

    def forward(self, x):
        return self.head(nn.functional.relu(self.conv(x)).mean((2, 3)))

def make():
    return Net()

def broken():
    raise RuntimeError("no luck")
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(textwrap.dedent(FACTORY))
    return path


def test_factory_with_weights(factory: Path, tmp_path: Path) -> None:
    namespace: dict = {}
    exec(factory.read_text(), namespace)
    torch.manual_seed(3)
    net = namespace["make"]().eval()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    arguments = ["export", f"{factory}:make", "--input-shape", "1,3,8,8", "--weights", str(tmp_path / "w.pt")]
    assert run([*arguments, "-f", "tflite", "-o", str(tmp_path / "out")]) == 0
    x = torch.randn(1, 3, 8, 8)
    with toolchain.load(tmp_path / "out" / "make-fp32.tflite") as loaded:
        actual = loaded.run({"input": x.permute(0, 2, 3, 1).numpy()})["output"]
    np.testing.assert_allclose(actual, net(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_python_call_exports_a_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    made = toolchain.export(net, torch.zeros(1, 3, 8, 8), formats=["tflite"], output=tmp_path)
    assert [artifact.format for artifact in made] == ["tflite"]
    assert made[0].parity is not None
    assert made[0].parity.sqnr_db >= 100
    assert made[0].ops == {"CONV_2D": 1}


def unsupported_onnx(path: Path) -> Path:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="determinant"),
        helper.make_node("Relu", ["a"], ["b"], name="fine"),
        helper.make_node("Custom", ["b"], ["y"], name="mine", domain="com.example"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def dynamic_onnx(path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (lambda t, cnn: ["mobile-hourglas"], 2, "did you mean mobile-hourglass"),
        (lambda t, cnn: [str(t / "missing.onnx")], 2, "missing.onnx"),
        (lambda t, cnn: [str(write(t / "text.onnx", b"hello, this is no model"))], 3, "text.onnx"),
        (lambda t, cnn: [str(write(t / "cut.onnx", cnn.read_bytes()[:-200]))], 3, "cut.onnx"),
        (lambda t, cnn: [str(write(t / "empty.onnx", b""))], 3, "empty.onnx"),
        (lambda t, cnn: [str(unsupported_onnx(t / "odd.onnx"))], 3, "Custom"),
        (lambda t, cnn: [str(dynamic_onnx(t / "dyn.onnx"))], 2, "--input-shape"),
        (lambda t, cnn: [str(dynamic_onnx(t / "dyn.onnx")), "--input-shape", "1,3"], 2, "4 axes"),
        (lambda t, cnn: [str(cnn), "--input-shape", "1,x"], 2, "positive integers"),
        (lambda t, cnn: [str(cnn), "-f", "tensorrt"], 2, "unknown format"),
        (lambda t, cnn: [str(cnn), "-p", "fp8"], 2, "fp8"),
        (lambda t, cnn: [str(cnn), "--layout", "nwhc"], 2, "layout"),
        (lambda t, cnn: [str(cnn), "--weights", str(cnn)], 2, "--weights"),
        (lambda t, cnn: [str(cnn), "-p", "w8", "--refine"], 2, "--refine is for integer files"),
        (lambda t, cnn: [str(cnn), "-p", "fp32", "--max-drop", "1"], 2, "--max-drop is for integer files"),
        (lambda t, cnn: [str(cnn), "--allow-float", "auto"], 2, "--allow-float is for integer files"),
        (lambda t, cnn: [str(cnn), "--io", "uint8"], 2, "--io uint8 is for int8 .tflite files"),
        (lambda t, cnn: [str(cnn), "-f", "tflite", "-p", "int16x8", "--io", "int8"], 2, "--io int8 is for"),
        (lambda t, cnn: [str(cnn), "-f", "onnx", "-p", "int8", "--io", "int8"], 2, "--io int8 is for int8"),
        (lambda t, cnn: [str(cnn), "--io", "int16"], 2, "cannot be 'int16'"),
        (lambda t, cnn: [str(cnn), "--method", "mean"], 2, "method 'mean' is unknown"),
        (lambda t, cnn: [str(cnn), "--calibration", str(t / "none.npz")], 2, "no file at"),
        (lambda t, cnn: [f"{t / 'nofile.py'}:make"], 2, "nofile.py"),
        (lambda t, cnn: ["no.such.module:make"], 2, "no.such.module"),
        (lambda t, cnn: [f"{write(t / 'net.py', FACTORY.encode())}:nothing"], 2, "it has"),
        (lambda t, cnn: [f"{write(t / 'net.py', FACTORY.encode())}:broken"], 2, "no luck"),
        (lambda t, cnn: [f"{write(t / 'net.py', FACTORY.encode())}:make"], 2, "--input-shape"),
        (
            lambda t, cnn: [f"{write(t / 'net.py', FACTORY.encode())}:make", "--input-shape", "1,5,8,8"],
            2,
            "does not take inputs",
        ),
        (
            lambda t, cnn: ["lenet", "--weights", str(write(t / "cut.safetensors", b"\x08\0\0\0\0\0\0\0{"))],
            3,
            "cut.safetensors",
        ),
    ],
)
def test_bad_input_is_one_error_with_a_hint_and_no_file(
    arguments, code: int, message: str, cnn: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "out"
    assert run(["export", *arguments(tmp_path, cnn), "-o", str(output)]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ") or "\nerror: " in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not output.exists()


FORMATS = pytest.mark.parametrize("format_", ["tflite", "coreml", "mlmodel"])


@FORMATS
def test_all_unsupported_nodes_are_listed_at_once(format_: str, tmp_path: Path, capsys) -> None:
    path = unsupported_onnx(tmp_path / "odd.onnx")
    assert run(["export", str(path), "-f", format_, "-o", str(tmp_path / "out")]) == 3
    shown = capsys.readouterr().err
    assert "Det" in shown
    assert "determinant" in shown
    assert "com.example::Custom" in shown
    assert not (tmp_path / "out").exists()


@FORMATS
def test_dynamic_input_takes_the_shape_given(format_: str, tmp_path: Path) -> None:
    path = dynamic_onnx(tmp_path / "dyn.onnx")
    shape = ["--input-shape", "1,3,4,5"]
    assert run(["export", str(path), *shape, "-f", format_, "-p", "fp32", "-o", str(tmp_path)]) == 0
    suffix = {"tflite": ".tflite", "coreml": ".mlpackage", "mlmodel": ".mlmodel"}[format_]
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)
    # A network of one ReLU has no reason to turn its input around.
    with toolchain.load(tmp_path / f"dyn-fp32{suffix}") as net:
        assert np.array_equal(net.run({"x": x})["y"], np.maximum(x, 0))


def test_pickle_that_needs_code_is_refused_and_not_run(tmp_path: Path, capsys) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (marker,))

    torch.save({"w": Evil()}, tmp_path / "evil.pt")
    assert run(["export", "lenet", "--weights", str(tmp_path / "evil.pt"), "-o", str(tmp_path / "out")]) == 3
    assert "unpickling" in capsys.readouterr().err
    assert not marker.exists()


def test_weights_that_do_not_fit_are_named(tmp_path: Path, capsys) -> None:
    torch.save({"nothing.weight": torch.zeros(2)}, tmp_path / "w.pt")
    assert run(["export", "lenet", "--weights", str(tmp_path / "w.pt"), "-o", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "nothing.weight" in shown
    assert "missing" in shown


def test_unwritable_output_is_refused_before_any_work(cnn: Path, capsys) -> None:
    # Not even root may create a folder in /proc.
    assert run(["export", str(cnn), "-o", "/proc/nothing/here"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def left(temporary: Path) -> list[Path]:
    """What Python's tempfile made and nobody removed; torch and ONNX Runtime keep other things there."""
    return list(temporary.glob("tmp*"))


@FORMATS
def test_full_disk_leaves_nothing(format_: str, cnn: Path, tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: the kernel refuses the write in the middle."""
    code = textwrap.dedent(
        """
        import resource, signal, sys
        from toolchain.cli import run
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
        sys.exit(run(sys.argv[1:]))
        """
    )
    output, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", code, "export", str(cnn), "-f", format_, "-o", str(output)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(temporary)},
        check=False,
    )
    assert done.returncode not in (0, -signal.SIGXFSZ)
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()
    assert left(temporary) == []


@pytest.mark.parametrize("begun", ["*", "*.tflite"], ids=["at the start", "while Core ML is written"])
def test_interrupt_leaves_nothing_and_exits_130(begun: str, tmp_path: Path) -> None:
    output, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    command = [
        sys.executable,
        "-c",
        "from toolchain.cli import main; main()",
        "export",
        "mobilenetv2-0.35-96",
    ]
    process = subprocess.Popen(
        [*command, "-o", str(output)],
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    # Files are written aside: out/.export-xxx/NAME.
    pattern = begun if begun == "*" else f".export-*/{begun}"
    while not any(output.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert output.is_dir(), "the export never began to write"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"interrupted" in errors
    assert b"Traceback" not in errors
    assert not output.exists()
    assert left(temporary) == []
