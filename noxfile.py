"""Sessions: `nox` lints and tests; `nox -s old_runtimes` and `nox -s latency` compare with other programs.

Files that sessions make go below build/, measured figures below benchmarks/results/. Names of networks
after `--` replace the default ones: `nox -s latency -- unet`.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).parent
PEERS = Path("build/peers")
OLD_RUNTIMES = Path("build/old_runtimes")
RESULTS = Path("benchmarks/results")
PYTHONS = ("3.11", "3.12", "3.13")
# The only version with wheels of both tflite-runtime 2.14 and TensorFlow.
OLD_PYTHON = "3.11"
INTERPRETERS = {
    "tflite_runtime": ("tflite-runtime==2.14.0", "numpy<2"),
    "tensorflow": ("tensorflow-cpu>=2.16,<2.22",),
}
PEER_NETWORKS = (
    "mobile-hourglass",
    "mobile-hourglass-video-f32-t6",
    "mobile-hourglass-still-f32-t6",
    "unet",
    "mobilenetv2",
)
OLD_RUNTIME_NETWORKS = (*PEER_NETWORKS, "lenet")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests, on every Python version found here; arguments after `--` go to pytest."""
    session.install(".[test]")
    data = os.environ.get("TOOLCHAIN_DATA", "../shared/data")
    session.run("pytest", *session.posargs, env={"TOOLCHAIN_DATA": data})


@nox.session(python=OLD_PYTHON)
def lint(session: nox.Session) -> None:
    """Ruff on the checkout; mypy and import-linter on the installed wheel, where folders are packages."""
    session.install(".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    settings = os.fspath(ROOT / "pyproject.toml")
    with session.chdir(session.create_tmp()):
        session.run("lint-imports", "--config", settings, "--no-cache")
        session.run("mypy", "--config-file", settings, "-p", "toolchain")


@nox.session(python=OLD_PYTHON, default=False)
def emit(session: nox.Session) -> None:
    """Export networks for the old runtimes, with inputs and the outputs of this LiteRT beside each file."""
    session.install(".")
    for name in session.posargs or OLD_RUNTIME_NETWORKS:
        session.run(
            *("toolchain", "export", name, "-f", "tflite", "-p", "fp32", "-p", "fp16"),
            *("-o", os.fspath(OLD_RUNTIMES)),
        )
    session.run("python", "benchmarks/peers/record_outputs.py", *_files(OLD_RUNTIMES))


@nox.session(python=OLD_PYTHON, default=False, requires=["emit"])
@nox.parametrize("runtime", list(INTERPRETERS))
def old_runtimes(session: nox.Session, runtime: str) -> None:
    """Our files on runtimes that apps in the field carry; TensorFlow is installed here and nowhere else."""
    session.install(*INTERPRETERS[runtime])
    script = "benchmarks/peers/run_on_interpreter.py"
    session.run("python", script, "--runtime", runtime, *_files(OLD_RUNTIMES))


@nox.session(python=OLD_PYTHON, default=False)
def peers(session: nox.Session) -> None:
    """Networks converted by litert-torch, one process each, with the weights that ours are given too."""
    session.install("litert-torch==0.10.*", "torch>=2.9,<2.14")
    session.install("--no-deps", ".")
    for name in session.posargs or PEER_NETWORKS:
        script = "benchmarks/peers/convert_litert_torch.py"
        session.run("python", "-W", "ignore", script, name, "--output", os.fspath(PEERS))


@nox.session(python=OLD_PYTHON, default=False, requires=["peers"])
def latency(session: nox.Session) -> None:
    """Our files against the peer's, interleaved, one thread."""
    session.install(".")
    for name in session.posargs or PEER_NETWORKS:
        ours, theirs = PEERS / "ours", PEERS / f"{name}.tflite"
        weights = os.fspath(PEERS / f"{name}.safetensors")
        session.run("toolchain", "export", name, "-f", "tflite", "--weights", weights, "-o", os.fspath(ours))
        # -P: the folder toolchain/ of the checkout must not hide the installed package.
        session.run(
            *("python", "-P", "-m", "toolchain.benchmarks.latency"),
            *(os.fspath(ours / f"{name}-fp32.tflite"), os.fspath(theirs)),
            *("--output", os.fspath(RESULTS / f"latency-{name}.json")),
        )


def _files(folder: Path) -> list[str]:
    return [os.fspath(path) for path in sorted((ROOT / folder).glob("*.tflite"))]
