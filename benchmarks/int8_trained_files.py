"""The files of the int8 comparison: ours by `toolchain export`, the peer's by its own tools.

The peer runs in an environment of its own (litert-torch, ai-edge-quantizer, and this package without its
dependencies), by the scripts of benchmarks/peers.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.errors import ToolchainError, UsageError

CONVERT, QUANTIZE = "int8_convert.py", "quantize_ai_edge.py"
TOOLCHAIN = "import sys; from toolchain.cli import main; sys.exit(main())"
# How the peer combines the ranges of the samples: its default first.
PEER_RANGES = ("moving-average", "minmax")
SHOWN = 400


@dataclass
class ComparedFiles:
    """The files of one network, all .tflite with channel-last borders.

    Attributes:
        own_float: our float file.
        ours: our int8 file.
        refined: the same made with --refine.
        peer_float: the peer's float file.
        peers: the peer's int8 files by how they combine ranges, its default first.
        steps: `command` and `seconds` of each step by name.
    """

    own_float: Path
    ours: Path
    refined: Path
    peer_float: Path
    peers: dict[str, Path]
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """The other quantizer.

    Attributes:
        python: the interpreter of its environment.
        scripts: the folder benchmarks/peers of a checkout.
    """

    python: Path
    scripts: Path

    def check(self) -> None:
        """Refuse what cannot work before an hour has passed.

        Raises:
            UsageError: a file is missing.
        """
        for path in (self.python, self.scripts / CONVERT, self.scripts / QUANTIZE):
            if not path.is_file():
                raise UsageError(
                    f"no file '{path}'",
                    "--peer-python names an environment with ai-edge-quantizer (nox -s int8_peer makes one),"
                    " --peer-scripts the folder benchmarks/peers",
                )


def write_files(name: str, weights: Path, calibration: Path, folder: Path, peer: Peer) -> ComparedFiles:
    """Write all files of a network into `folder`, the same weights and the same samples for both sides.

    Raises:
        ToolchainError: a step failed; its last lines of output are quoted.
    """
    ours, refined, theirs = (folder / part for part in ("ours", "refined", "peer"))
    files = ComparedFiles(
        ours / f"{name}-fp32.tflite",
        ours / f"{name}-int8.tflite",
        refined / f"{name}-int8.tflite",
        theirs / f"{name}.tflite",
        {ranges: theirs / f"{ranges}.tflite" for ranges in PEER_RANGES},
    )
    export: list[str | Path] = ["export", name, "--weights", weights, "-f", "tflite"]
    samples: list[str | Path] = ["--calibration", calibration]
    for step, options, output in (
        ("fp32", ["-p", "fp32"], ours),
        ("int8", ["-p", "int8", *samples], ours),
        ("int8 --refine", ["-p", "int8", *samples, "--refine"], refined),
    ):
        files.steps[step] = _toolchain([*export, *options, "-o", output])
    theirs.mkdir(parents=True, exist_ok=True)
    shutil.copy(weights, theirs / f"{name}.safetensors")
    python: list[str | Path] = [peer.python, "-P", "-W", "ignore"]
    convert: list[str | Path] = [*python, peer.scripts / CONVERT, name, "--output", theirs]
    files.steps["peer fp32"] = _run(convert, convert)
    for ranges, path in files.peers.items():
        paths = [files.peer_float, calibration, path]
        quantize: list[str | Path] = [
            *python,
            peer.scripts / QUANTIZE,
            *paths,
            "--ranges",
            ranges,
            "--channels-first",
        ]
        files.steps[f"peer {ranges}"] = _run(quantize, quantize)
    return files


def peer_versions(files: ComparedFiles) -> dict[str, str]:
    """Versions of the peer's packages, as its scripts recorded them."""
    records = [files.peer_float, *files.peers.values()]
    found = [json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in records]
    return {name: version for record in found for name, version in record["versions"].items()}


def _toolchain(arguments: Sequence[str | Path]) -> dict[str, Any]:
    return _run([sys.executable, "-P", "-c", TOOLCHAIN, *arguments], ["toolchain", *arguments])


def _run(command: Sequence[str | Path], shown: Sequence[str | Path]) -> dict[str, Any]:
    """Run a command; paths are recorded by their names, since folders of one computer tell others nothing."""
    start = time.perf_counter()
    done = subprocess.run([os.fspath(part) for part in command], capture_output=True, text=True, check=False)
    text = shlex.join(part.name if isinstance(part, Path) else part for part in shown)
    if done.returncode:
        raise ToolchainError(
            f"'{text}' failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-SHOWN:]}",
            exit_code=done.returncode if done.returncode > 0 else 1,
        )
    return {"command": text, "seconds": round(time.perf_counter() - start, 1)}
