"""Every command and every Python block of the documentation is run.

Commands run in a folder that looks like the root of the repository, in the order of the page, so that
each finds the files which the ones before it made.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import shlex
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import toolchain
from toolchain.cli import run
from toolchain.spec import load_sidecar

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# .ci/run does these in a clean environment.
SET_UP = {
    "python3 -m venv .venv",
    '.venv/bin/pip install -e ".[dev]"',
    ".venv/bin/pre-commit install",
    ".venv/bin/pytest -n auto",
}
# The README says that each of these takes --json; `export --json` has tests of its own.
REPORTS = ("verify", "inspect", "models", "doctor", "predict")
# SQNR in dB by precision, as the README says; files with packed weights are judged by their labels.
LEAST = {"fp32": 80, "fp16": 45}
# These train, on data that have to be made first.
TRAINING, UNPACKED = ("train", "compress"), "runs/unpacked"
TOOL = ("toolchain", ".venv/bin/toolchain")
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    language: str
    text: str

    def commands(self) -> list[str]:
        lines = self.text.replace("\\\n", " ").splitlines()
        return [part.strip() for line in lines for part in line.split(" && ") if part.strip()]


def blocks(page: Path, language: str) -> list[Block]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [
        Block(page, kind, "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)))
        for indent, kind, text in found
        if kind == language
    ]


def tool_commands(page: Path) -> list[list[str]]:
    """The words after `toolchain` of every command of a page."""
    commands = [shlex.split(text) for block in blocks(page, "bash") for text in block.commands()]
    return [words[1:] for words in commands if words[0] in TOOL]


def load_file(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: what the commands read is there, what they write is thrown away."""
    for name in ("docs", "examples", "models"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pages_are_found() -> None:
    assert len(tool_commands(ROOT / "README.md")) >= 8
    assert all(page.is_file() for page in PAGES)


def test_all_other_commands_are_the_known_set_up() -> None:
    commands = {text for page in PAGES for block in blocks(page, "bash") for text in block.commands()}
    assert {text for text in commands if shlex.split(text)[0] not in TOOL} == SET_UP


def test_ci_runs_the_set_up_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    readme = blocks(ROOT / "README.md", "bash")
    assert '"$(block 1)"' in script
    assert '"$(block 2)"' in script
    assert readme[0].commands()[0] == "python3 -m venv .venv"
    assert readme[1].commands() == [".venv/bin/pytest -n auto"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_run_in_its_order(page: Path, repository: Path, capsys) -> None:
    for words in tool_commands(page):
        if words[0] in TRAINING or UNPACKED in shlex.join(words):
            continue
        assert run(words) == 0, f"toolchain {shlex.join(words)}: {capsys.readouterr().err}"
        if words[0] in REPORTS:
            capsys.readouterr()
            assert run([*words, "--json"]) == 0
            json.loads(capsys.readouterr().out)
    for path in repository.glob("build/*.json"):
        sidecar = load_sidecar(path.with_suffix(""))
        assert sidecar.parity is not None
        if sidecar.precision in LEAST:
            assert sidecar.parity.sqnr_db >= LEAST[sidecar.precision]
        else:
            assert sidecar.parity.agreement is not None
            assert sidecar.parity.agreement >= 0.99
    for picture in repository.glob("build/astronaut.png"):
        check_overlay(repository / "docs" / "images" / "astronaut.jpg", picture)


def check_overlay(photograph: Path, overlay: Path) -> None:
    """The drawing has the photograph's size, and differs in the face only."""
    before, after = (cv2.imread(str(path)) for path in (photograph, overlay))
    assert before.shape == after.shape
    changed = np.abs(after.astype(int) - before).max(2) > 8
    assert 0.005 < changed.mean() < 0.5


@pytest.mark.slow
def test_training_commands_run_as_written(repository: Path) -> None:
    pages = [words for page in PAGES for words in tool_commands(page)]
    commands = [words for words in pages if words[:2] == ["train", "face-parsing"]]
    assert len(commands) == 4
    drawn = load_file(ROOT / "tests" / "toolchain" / "training" / "conftest.py", "drawn_faces")
    drawn.write_zip(repository / "celebamask_hq_256.zip", 4, 2)
    for words in commands:
        assert run(words) == 0
        output = Path(words[words.index("-o") + 1])
        size = int(words[words.index("--size") + 1])
        arguments = ["export", "mobile-hourglass", "--weights", f"{output}/mobile-hourglass.safetensors"]
        assert run([*arguments, "--input-shape", f"1,3,{size},{size}", "-o", str(output)]) == 0


@pytest.mark.slow
def test_commands_that_make_a_network_smaller_run_in_their_order(repository: Path) -> None:
    pages = [words for page in PAGES for words in tool_commands(page)]
    first = next(i for i, words in enumerate(pages) if words[:2] == ["train", "classification"])
    commands = [
        words for words in pages[first:] if words[0] in TRAINING or "runs/unpacked" in shlex.join(words)
    ]
    assert len(commands) == 7
    write_digits(repository / "mnist")
    for words in commands:
        assert run(words) == 0, shlex.join(words)
    whole, packed = repository / "runs/removed/lenet.safetensors", repository / "runs/lenet.packed"
    assert packed.stat().st_size < whole.stat().st_size / 4
    assert load_sidecar(repository / "runs/tflite/lenet-fp32.tflite").parity.sqnr_db >= 80


def write_digits(folder: Path) -> None:
    """Printed digits in the files of MNIST."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for split, count in (("train", 600), ("t10k", 60)):
        labels = random.integers(0, 10, count).astype(np.uint8)
        pictures = np.zeros((count, 28, 28), np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            place = tuple(int(at) for at in random.integers((4, 20), (9, 25)))
            cv2.putText(picture, str(label), place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
        for name, magic, array in (("images-idx3", 2051, pictures), ("labels-idx1", 2049, labels)):
            header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
            with gzip.open(folder / f"{split}-{name}-ubyte.gz", "wb") as file:
                file.write(header + array.tobytes())


def test_python_of_the_readme_runs(repository: Path) -> None:
    for block in blocks(ROOT / "README.md", "python"):
        names: dict[str, Any] = {}
        exec(compile(block.text, "README.md", "exec"), names)
        assert names["artifact"].parity.sqnr_db >= 80
        assert names["scores"].shape == (1, 30, 30, 8)


def contributing(marker: str) -> str:
    [block] = [b for b in blocks(ROOT / "CONTRIBUTING.md", "python") if marker in b.text]
    return block.text


def test_contributing_has_no_python_block_without_a_test() -> None:
    assert len(blocks(ROOT / "CONTRIBUTING.md", "python")) == 2
    assert not [page for page in PAGES[2:] if blocks(page, "python")]


def test_op_of_contributing_computes_what_onnx_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from toolchain.converters.tflite.layout import elementwise
    from toolchain.converters.tflite.lowering import NodeContext, handlers, lowers
    from toolchain.converters.tflite.program import Op

    # The page says how it would be added if it were not there.
    monkeypatch.delitem(handlers()._entries, "HardSigmoid")
    names = {
        "np": np,
        "schema": schema,
        "elementwise": elementwise,
        "NodeContext": NodeContext,
        "lowers": lowers,
        "Op": Op,
    }
    exec(compile(contributing("@lowers"), "CONTRIBUTING.md", "exec"), names)
    graph = helper.make_graph(
        [helper.make_node("HardSigmoid", ["x"], ["y"], alpha=0.3, beta=0.4)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    [made] = toolchain.export(tmp_path / "net.onnx", formats=["tflite"], output=tmp_path)
    x = np.linspace(-4, 4, 60, dtype=np.float32).reshape(1, 3, 4, 5)
    expected = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"x": x})[0]
    assert {0.0, 1.0} <= set(expected.flat)
    with toolchain.load(made.path) as net:
        np.testing.assert_allclose(net.run({"x": x})["y"], expected, atol=1e-6)
    assert handlers().get("HardSigmoid") is not None


def test_model_of_contributing_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from toolchain.models.zoo import zoo

    monkeypatch.setattr(zoo(), "_entries", dict(zoo()._entries))
    (tmp_path / "tinynet.py").write_text(contributing("register_model"), encoding="utf-8")
    monkeypatch.setitem(sys.modules, "tinynet", load_file(tmp_path / "tinynet.py", "tinynet"))
    assert run(["models"]) == 0
    assert "tinynet" in capsys.readouterr().out
    assert run(["export", "tinynet", "-o", str(tmp_path)]) == 0
    sidecar = load_sidecar(tmp_path / "tinynet-fp32.tflite")
    assert sidecar.ops == {"CONV_2D": 2}
    assert sidecar.outputs[0].shape == (1, 256, 256, 10)
