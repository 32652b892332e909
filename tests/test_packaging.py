"""The package list, the imports by folder name, and what importing costs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Run by other tools' interpreters, in environments of their own; never imported.
SCRIPTS = ROOT / "benchmarks" / "peers"
FOLDERS = {
    "toolchain": "toolchain",
    "models": "toolchain.models",
    "converters": "toolchain.converters",
    "benchmarks": "toolchain.benchmarks",
}


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_package_list_equals_the_folders() -> None:
    found = set()
    for folder, name in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join([name, *inner]))
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == found


def test_every_python_file_lies_in_a_package() -> None:
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            if file.is_relative_to(SCRIPTS):
                continue
            assert (file.parent / "__init__.py").is_file(), f"{file} lies in no package"


def test_nothing_is_imported_by_folder_name() -> None:
    pattern = re.compile(r"^\s*(from|import) (models|converters|benchmarks|tensorflow)\b", re.MULTILINE)
    offenders = [
        str(file.relative_to(ROOT))
        for folder in [*FOLDERS, "tests"]
        for file in (ROOT / folder).rglob("*.py")
        if pattern.search(file.read_text(encoding="utf-8")) and file != Path(__file__)
    ]
    assert [name for name in offenders if not (ROOT / name).is_relative_to(SCRIPTS)] == []


@pytest.mark.parametrize("statement", ["import toolchain", "import toolchain.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    heavy = ("torch", "onnx", "onnx_ir", "cv2", "lightning", "numpy", "ai_edge_litert")
    code = f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "tests"
    )
    assert done.stdout.strip() == "[]"


def test_tensorflow_is_never_a_dependency() -> None:
    project = pyproject()["project"]
    everything = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        everything.extend(extra)
    assert not [name for name in everything if name.lower().startswith("tensorflow")]
