"""The command line as a whole: help without imports, exit codes, tracebacks only when asked for."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.cli import COMMANDS, SPINS, main, run
from toolchain.cli.compress import SUBCOMMANDS
from toolchain.errors import RegressionError

HEAVY = (
    "torch",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "cv2",
    "numpy",
    "lightning",
    "ai_edge_litert",
    "rich",
    "coremltools",
)


def fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `toolchain models` fail with this error."""

    def raise_it(*_: object) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("toolchain.models.zoo"), "zoo", raise_it)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"], []])
def test_start_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom toolchain.cli import run\n"
        f"run({arguments!r})\nprint('loaded', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded"


def test_help_lists_every_command(capsys) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_page(name: str, capsys) -> None:
    assert run([name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    if name == "compress":
        assert all(word in shown and text in shown for word, text in SUBCOMMANDS.items())
    else:
        assert COMMANDS[name] in shown
        assert "--json" in shown


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_way_of_compressing_has_a_help_page(name: str, capsys) -> None:
    assert run(["compress", name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert SUBCOMMANDS[name] in shown
    assert "--json" in shown or name == "pictures"


def test_version_is_that_of_the_package(capsys) -> None:
    from importlib.metadata import version

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"toolchain {version('mobile-toolchain')}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exprot"], "No such command 'exprot'"),
        (["--nope"], "--nope"),
        (["export"], "Missing argument"),
        (["verify", "x.tflite"], "--against"),
        (["verify", "x.tflite", "--against", "lenet", "--samples", "0"], "--samples"),
        (["doctor", "extra"], "extra"),
        (["inspect"], "Missing argument"),
    ],
)
def test_wrong_command_lines_exit_with_2(arguments: list[str], message: str, capsys) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "--help" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_no_command_shows_the_help(capsys) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_known_error_is_two_lines_and_its_exit_code(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    fails(monkeypatch, RegressionError("it is slower", "make it faster"))
    assert run(["models"]) == 5
    captured = capsys.readouterr()
    assert captured.err == "error: it is slower\nhint: make it faster\n"
    assert captured.out == ""


def test_debug_variable_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    fails(monkeypatch, RegressionError("it is slower", "make it faster"))
    monkeypatch.setenv("TOOLCHAIN_DEBUG", "1")
    assert run(["models"]) == 5
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "raise_it" in shown
    assert shown.endswith("error: it is slower\nhint: make it faster\n")


def test_error_of_the_operating_system_names_the_file(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    fails(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "secret.onnx"))
    assert run(["models"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: 'secret.onnx': Permission denied\nhint: ")
    assert "Traceback" not in shown


def test_name_that_no_file_system_takes(capsys) -> None:
    assert run(["inspect", "a" * 300 + ".tflite"]) == 2
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_wait_briefly_unless_the_user_says_otherwise(
    given: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {key: value for key, value in os.environ.items() if "SPINCOUNT" not in key} | given
    monkeypatch.setattr(os, "environ", environment)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert environment.get("GOMP_SPINCOUNT") == spins


def test_interruption_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    fails(monkeypatch, KeyboardInterrupt())
    assert run(["models"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, ZeroDivisionError("a fault"))
    with pytest.raises(ZeroDivisionError, match="a fault"):
        run(["models"])


def test_what_a_network_prints_is_no_result(tmp_path: Path, capsys) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nprint('on import')\n\n"
        "class Net(nn.ReLU):\n    def forward(self, x):\n        print('forward')\n"
        "        return super().forward(x)\n\n"
        "def make():\n    print('factory')\n    return Net()\n"
    )
    arguments = ["export", f"{tmp_path / 'net.py'}:make", "--input-shape", "1,3", "-o", str(tmp_path)]
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert [row["format"] for row in json.loads(captured.out)] == ["tflite", "coreml"]
    assert {"on import", "factory", "forward"} <= set(captured.err.splitlines())
