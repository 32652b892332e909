"""One conversion by one tool, in a process of its own: a job comes in as JSON, a result goes out as JSON.

Run by `toolchain.benchmarks.peer_table` in the environment of the tool:

    python benchmarks/peers/peer_onnx2tf.py JOB.json RESULT.json

What a tool does is one function `convert(job, clock)` that writes `job.output`; a failure of the tool is a
result with its error line. Times are split into stages, and a stage within another one is not counted twice:

- `import`: importing the tool;
- `network`: building the network and its weights, which is no tool's work;
- `export`: from the torch module to what the tool converts (ONNX file, exported or traced program);
- `convert`: from there to the file on disk;
- `quantize`: calibration and quantization of an int8 file, or casting the weights of an fp32 file.

Modules that are imported while a stage runs count as `import`, so that tools which import what they need at
the last moment are measured like those which do not.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.benchmarks.memory import peak_megabytes, resident_megabytes

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

COUNTED = ("export", "convert", "quantize")
LONGEST_LINE = 300
KIBI, MEGA = 1024, 1e6
# Of getrusage(2): kilobytes on Linux, bytes on macOS.
MAXRSS_UNIT = 1 if sys.platform == "darwin" else KIBI


class NotOfferedError(Exception):
    """The tool has no way to make such a file; the text says so in its own terms."""


@dataclass(frozen=True)
class Job:
    """What is to be converted.

    Attributes:
        name: zoo name.
        precision: "fp32", "fp16" or "int8".
        weights: safetensors file of the network's state dict.
        onnx: the network as an ONNX file, by `peer_torch_onnx`.
        calibration: .npz with one channel-first array per input name, samples on the first axis.
        output: the file to write.
    """

    name: str
    precision: str
    weights: Path
    onnx: Path
    calibration: Path
    output: Path

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job in a JSON file; other keys are ignored."""
        values = json.loads(path.read_text(encoding="utf-8"))
        paths = {key: Path(values[key]) for key in ("weights", "onnx", "calibration", "output")}
        return cls(values["name"], values["precision"], **paths)


@dataclass
class Clock:
    """Elapsed and processor time per stage, child processes included once they have ended."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    baseline_megabytes: float | None = None
    _inner: list[tuple[float, float]] = field(default_factory=list)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what happens inside as `stage`, and not as the stage around it."""
        if stage in COUNTED and self.baseline_megabytes is None:
            self.baseline_megabytes = resident_megabytes()
        self._inner.append((0.0, 0.0))
        start, used = time.perf_counter(), cpu_time()
        try:
            yield
        finally:
            elapsed, busy = time.perf_counter() - start, cpu_time() - used
            nested, nested_busy = self._inner.pop()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + elapsed - nested
            self.cpu_seconds[stage] = self.cpu_seconds.get(stage, 0.0) + busy - nested_busy
            if self._inner:
                outer, outer_busy = self._inner[-1]
                self._inner[-1] = (outer + elapsed, outer_busy + busy)

    def within(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time counted as `stage`."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self(stage):
                return function(*arguments, **named)

        return timed

    def as_json(self) -> dict[str, dict[str, float]]:
        """`seconds` and `cpu_seconds` by stage."""
        return {
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "cpu_seconds": {stage: round(value, 4) for stage, value in self.cpu_seconds.items()},
        }


@contextmanager
def imports_apart(clock: Clock) -> Iterator[None]:
    """Count the first import of a module as `import`, whichever stage it happens in."""
    load = importlib._bootstrap._find_and_load  # type: ignore[attr-defined]
    timed, main_thread = clock.within("import", load), threading.main_thread()

    def find_and_load(*arguments: Any) -> Any:
        return (timed if threading.current_thread() is main_thread else load)(*arguments)

    importlib._bootstrap._find_and_load = find_and_load  # type: ignore[attr-defined]
    try:
        yield
    finally:
        importlib._bootstrap._find_and_load = load  # type: ignore[attr-defined]


def cpu_time() -> float:
    """Processor time of this process and of its ended children, in seconds."""
    if resource is None:
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def largest_megabytes() -> float:
    """Peak memory of this process, or of its largest ended child if that is more."""
    if resource is None:
        return peak_megabytes()
    return max(peak_megabytes(), _children_megabytes())


def _children_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * MAXRSS_UNIT / MEGA


def error_line(error: BaseException) -> str:
    """Type and message in one line."""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:LONGEST_LINE]


def do(job: Job, convert: Callable[[Job, Clock], None], packages: Sequence[str]) -> dict[str, Any]:
    """Convert, and describe what came of it.

    Returns:
        `ok`, `error` (None when all went well), `offered` (False where the tool has no such precision),
        `seconds` and `cpu_seconds` by stage, `baseline_megabytes` (when the first counted stage began),
        `peak_megabytes` and `versions`.
    """
    clock, error, offered = Clock(), None, True
    job.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with imports_apart(clock):
            convert(job, clock)
        if not job.output.exists():
            error = "the tool ended without an error and wrote no file"
    except NotOfferedError as reason:
        error, offered = str(reason), False
    except (Exception, SystemExit) as reason:
        # Whatever the tool raises is its result.
        error = error_line(reason)
    return {
        "ok": error is None,
        "error": error,
        "offered": offered,
        **clock.as_json(),
        "baseline_megabytes": round(clock.baseline_megabytes or 0.0, 1) or None,
        "peak_megabytes": round(largest_megabytes(), 1),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main(convert: Callable[[Job, Clock], None], packages: Sequence[str]) -> None:
    """Do the job named on the command line and write the result."""
    job_path, result_path = (Path(argument) for argument in sys.argv[1:3])
    result = do(Job.read(job_path), convert, packages)
    result_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
