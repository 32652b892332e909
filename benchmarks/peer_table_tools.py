"""Who takes part in the side-by-side table, and one conversion of one of them in its own environment."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain import errors
from toolchain.errors import UsageError

OURS = "toolchain"
TFLITE, CORE_ML, ONNX = ".tflite", ".mlpackage", ".onnx"
PRECISIONS = ("fp32", "fp16", "int8")
SHOWN = 300
PARTS = ("models", "converters", "benchmarks")


@dataclass(frozen=True)
class Tool:
    """A converter.

    Attributes:
        name: as in the table.
        script: in benchmarks/peers.
        suffix: of the files that it writes.
        starts_from: "module" or "onnx"; for the latter torch.onnx.export is added for a whole call.
        environment: key of the interpreter that runs it; "" is this one.
    The one that writes ONNX files is measured because others start from them.
    """

    name: str
    script: str
    suffix: str
    starts_from: str
    environment: str

    @property
    def ours(self) -> bool:
        """Whether this is what the others are compared with."""
        return self.name == OURS


TOOLS = (
    Tool("torch.onnx", "peer_torch_onnx.py", ONNX, "module", ""),
    Tool(OURS, "peer_toolchain.py", TFLITE, "module", ""),
    Tool("litert-torch", "peer_litert_torch.py", TFLITE, "module", "litert-torch"),
    Tool("onnx2tf 1", "peer_onnx2tf.py", TFLITE, "onnx", "onnx2tf-1"),
    Tool("onnx2tf 2", "peer_onnx2tf.py", TFLITE, "onnx", "onnx2tf-2"),
    Tool(OURS, "peer_toolchain.py", CORE_ML, "module", ""),
    Tool("coremltools", "peer_coremltools.py", CORE_ML, "module", "coremltools"),
    Tool("onnx2coreml", "peer_onnx2coreml.py", CORE_ML, "onnx", "onnx2coreml"),
)
ENVIRONMENTS = tuple(dict.fromkeys(tool.environment for tool in TOOLS if tool.environment))


@dataclass(frozen=True)
class Workshop:
    """Where jobs run.

    Attributes:
        pythons: interpreter of each environment; a tool without one takes no part.
        scripts: the folder benchmarks/peers of a checkout.
        folder: where everything is kept.
        timeout: seconds after which a conversion is stopped.
    """

    pythons: dict[str, Path]
    scripts: Path
    folder: Path
    timeout: float

    def check(self) -> None:
        """Refuse what cannot work before an hour has passed.

        Raises:
            UsageError: an unknown environment, or a file that is missing.
        """
        for name, python in self.pythons.items():
            if name not in ENVIRONMENTS:
                raise UsageError(f"no converter runs in '{name}'", f"one of {', '.join(ENVIRONMENTS)}")
            if not python.is_file():
                raise UsageError(f"no interpreter at '{python}'", "`nox -s peer_table` makes all of them")
        for tool in TOOLS:
            if not (self.scripts / tool.script).is_file():
                raise UsageError(
                    f"no file '{self.scripts / tool.script}'",
                    "--scripts names the folder benchmarks/peers of a checkout",
                )

    def tools(self) -> Iterator[Tool]:
        """The tools that have an environment here; first the one that writes the ONNX file of others."""
        for tool in TOOLS:
            if not tool.environment or tool.environment in self.pythons:
                yield tool

    def python(self, tool: Tool) -> Path:
        """The interpreter that runs it."""
        return self.pythons[tool.environment] if tool.environment else Path(sys.executable)

    def site(self) -> Path:
        """A folder for PYTHONPATH with this package and nothing else, whatever way it is installed."""
        made = self.folder / "site" / "toolchain"
        made.mkdir(parents=True, exist_ok=True)
        own = Path(errors.__file__).parent
        found = {path.name: path for path in own.iterdir() if path.name != "__pycache__"}
        for part in PARTS:
            spec = importlib.util.find_spec(f"toolchain.{part}")
            if spec is None or spec.origin is None:
                raise UsageError(f"toolchain.{part} is not installed", "pip install the package")
            found[part] = Path(spec.origin).parent
        for name, path in found.items():
            link = made / name
            if not link.is_symlink() or link.resolve() != path.resolve():
                link.unlink(missing_ok=True)
                link.symlink_to(path.resolve())
        return made.parent


def run_job(workshop: Workshop, tool: Tool, job: dict[str, Any], place: Path) -> dict[str, Any]:
    """One conversion in a fresh process.

    Args:
        workshop: where.
        tool: which.
        job: see `peer_job.Job`; its `output` is the file to write.
        place: folder of the job's files and of the tool's output, `log.txt`.

    Returns:
        The result of `peer_job.do`, with `process_seconds` and `process_cpu_seconds` of the whole process; a
        process that died or took too long is a result with `ok` false.
    """
    place.mkdir(parents=True, exist_ok=True)
    job_path, result_path = place / "job.json", place / "result.json"
    job_path.write_text(json.dumps(job, indent=2) + "\n", encoding="utf-8")
    result_path.unlink(missing_ok=True)
    command = [workshop.python(tool), "-W", "ignore", workshop.scripts / tool.script, job_path, result_path]
    variables = {**os.environ, "PYTHONPATH": os.fspath(workshop.site()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    start, used = time.perf_counter(), _children_cpu()
    reason = None
    with (place / "log.txt").open("w", encoding="utf-8") as log:
        try:
            code = subprocess.run(
                [os.path.abspath(part) if isinstance(part, Path) else str(part) for part in command],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                cwd=place,
                timeout=workshop.timeout,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code, reason = 1, f"stopped after {workshop.timeout:g} s"
    elapsed, busy = time.perf_counter() - start, _children_cpu() - used
    if result_path.is_file() and reason is None:
        result = json.loads(result_path.read_text(encoding="utf-8"))
    else:
        result = _died(reason or f"the process ended with {code}", place / "log.txt")
    return {**result, "process_seconds": round(elapsed, 3), "process_cpu_seconds": round(busy, 3)}


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _died(reason: str, log: Path) -> dict[str, Any]:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    text = f"{reason}: {lines[-1].strip()}" if lines else reason
    return {
        "ok": False,
        "error": text[:SHOWN],
        "offered": True,
        "seconds": {},
        "cpu_seconds": {},
        "baseline_megabytes": None,
        "peak_megabytes": None,
        "versions": {},
    }
