"""Sessions: `nox` lints and tests; `old_runtimes`, `latency`, `int8` and `peer_table` compare with others.

Files that sessions make go below build/, measured figures below benchmarks/results/. Names of networks
after `--` replace the default ones: `nox -s latency -- unet`.
"""

from __future__ import annotations

import os
import shutil
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
# Face parsers with trained weights: int8 figures of random weights say nothing.
INT8 = Path("build/int8")
INT8_NETWORKS = ("mobile-hourglass",)
WEIGHTS = Path("models/weights")
# Settings of the peer: file name -> its calibration arrays and how it combines the samples' ranges.
INT8_PEERS = {
    "peer-default": ("calibration.npz", "moving-average"),
    "peer-masked": ("calibration-masked.npz", "moving-average"),
    "peer-minmax": ("calibration.npz", "minmax"),
}
# The side-by-side table: environment -> Python and packages; their pins exclude each other.
PEER_TABLE = Path("build/peer_table")
PEER_ENVIRONMENTS = {
    "litert-torch": (
        OLD_PYTHON,
        ("litert-torch==0.10.*", "ai-edge-quantizer==0.10.*", "torch>=2.9,<2.14", "safetensors"),
    ),
    "onnx2tf-1": (OLD_PYTHON, ("onnx2tf==1.29.*",)),
    "onnx2tf-2": ("3.12", ("onnx2tf==2.6.*",)),
    "coremltools": (OLD_PYTHON, ("coremltools==9.*", "torch>=2.9,<2.14", "safetensors")),
    "onnx2coreml": (OLD_PYTHON, ("onnx2coreml==1.1.*",)),
}
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


@nox.session(python=OLD_PYTHON, default=False)
def int8_files(session: nox.Session) -> None:
    """Our float and int8 files of trained face parsers, and the calibration pictures for both sides."""
    session.install(".[train]")
    for name in session.posargs or INT8_NETWORKS:
        folder = INT8 / name
        export = ("toolchain", "export", name, "-o", os.fspath(folder))
        session.run(*export, "-f", "tflite")
        session.run(
            *("python", "-P", "-m", "toolchain.benchmarks.int8_samples", name),
            *(os.fspath(folder / f"{name}-fp32.tflite"), "--data", _faces(), "--output", os.fspath(folder)),
        )
        pictures = os.fspath(folder / "pictures")
        session.run(*export, "-f", "tflite", "-f", "onnx", "-p", "int8", "--calibration", pictures)


@nox.session(python=OLD_PYTHON, default=False, requires=["int8_files"])
def int8_peer(session: nox.Session) -> None:
    """The same weights through litert-torch and ai-edge-quantizer, with the same calibration pictures."""
    session.install("litert-torch==0.10.*", "ai-edge-quantizer==0.10.*", "torch>=2.9,<2.14")
    session.install("--no-deps", ".")
    for name in session.posargs or INT8_NETWORKS:
        folder = INT8 / name
        shutil.copy(WEIGHTS / f"{name}.safetensors", folder)
        script = "benchmarks/peers/convert_litert_torch.py"
        session.run(
            *("python", "-W", "ignore", script, name, "--output", os.fspath(folder), "--repeats", "1")
        )
        for peer, (arrays, ranges) in INT8_PEERS.items():
            session.run(
                *("python", "-W", "ignore", "benchmarks/peers/quantize_ai_edge.py"),
                *(os.fspath(folder / path) for path in (f"{name}.tflite", arrays, f"{peer}.tflite")),
                *("--ranges", ranges),
            )


@nox.session(python=OLD_PYTHON, default=False, requires=["int8_peer"])
def int8(session: nox.Session) -> None:
    """Our int8 file beside the peer's: accuracy, latency and size."""
    session.install(".[train]")
    for name in session.posargs or INT8_NETWORKS:
        folder = INT8 / name
        peers = [f"--peer={folder / f'{peer}.tflite'}" for peer in INT8_PEERS]
        session.run(
            *("python", "-P", "-m", "toolchain.benchmarks.int8", name, "--data", _faces()),
            *(f"--float={folder / f'{name}-fp32.tflite'}", f"--ours={folder / f'{name}-int8.tflite'}"),
            *(f"--graph={folder / f'{name}-int8.onnx'}", f"--peer-float={folder / f'{name}.tflite'}"),
            *(*peers, "--output", os.fspath(RESULTS / f"int8-{name}.json")),
        )


def _peer_environment(name: str, python: str, packages: tuple[str, ...]) -> None:
    """A session that makes the environment of one converter and notes where its interpreter is."""

    @nox.session(name=f"peer_{name}", python=python, default=False)
    def install(session: nox.Session) -> None:
        """The environment of one converter of the side-by-side table."""
        session.install(*packages)
        PEER_TABLE.mkdir(parents=True, exist_ok=True)
        interpreter = Path(session.bin) / "python"
        (PEER_TABLE / f"{name}.python").write_text(os.fspath(interpreter), encoding="utf-8")


for _name, (_python, _packages) in PEER_ENVIRONMENTS.items():
    _peer_environment(_name, _python, _packages)


@nox.session(python=OLD_PYTHON, default=False, requires=[f"peer_{name}" for name in PEER_ENVIRONMENTS])
def peer_table(session: nox.Session) -> None:
    """Our conversions beside those of every other converter; arguments after `--` go to the command."""
    session.install(".[train]")
    peers = [
        f"--peer={name}={(PEER_TABLE / f'{name}.python').read_text(encoding='utf-8')}"
        for name in PEER_ENVIRONMENTS
    ]
    session.run(
        *("python", "-P", "-m", "toolchain.benchmarks.peer_table", *session.posargs, *peers),
        *("--data", os.environ.get("TOOLCHAIN_DATA", "../shared/data"), "--folder", os.fspath(PEER_TABLE)),
        *("--output", os.fspath(RESULTS / "peers.json")),
    )


def _faces() -> str:
    return os.fspath(Path(os.environ.get("TOOLCHAIN_DATA", "../shared/data")) / "celebamask_hq_256.zip")


def _files(folder: Path) -> list[str]:
    return [os.fspath(path) for path in sorted((ROOT / folder).glob("*.tflite"))]
