"""The page that measures a .tflite file in a browser: what it may fetch and what it may post."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.devices.server import Content
from toolchain.benchmarks.devices.web_model import WebModel
from toolchain.benchmarks.devices.web_report import PROTOCOL, PageReport, read_failure, read_report
from toolchain.errors import MissingDependencyError, UsageError

BUILT = Path(__file__).with_name("page_built")
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".wasm": "application/wasm",
}
GZIP = ".gz"
JSON, BYTES = "application/json", "application/octet-stream"
# Of a report: what is no sample, and each sample with the time at which it began.
REPORT_BYTES, SAMPLE_BYTES = 8192, 64
FAILURE_BYTES = 4096


@dataclass(frozen=True)
class Task:
    """What the page is to do.

    Attributes:
        label: what it shows as the name of the network.
        backend: "wasm" or "webgpu".
        runs: samples.
        warmup_s: longest warm-up in seconds.
    """

    label: str
    backend: str
    runs: int
    warmup_s: float


class BenchmarkSite:
    """Serves the page, LiteRT.js, the artefact, its sidecar and its inputs; keeps what the page posts.

    Args:
        model: what is measured.
        task: how.
        built: folder of the built page.

    Raises:
        MissingDependencyError: the built page is not there.
    """

    def __init__(self, model: WebModel, task: Task, built: Path = BUILT) -> None:
        self._model, self._task = model, task
        self._files = page_files(built) | _model_files(model, task)
        self._changed = threading.Condition()
        self._heard = time.monotonic()
        self._outputs: dict[int, bytes] = {}
        self._report: PageReport | None = None
        self._failure: str | None = None
        self._opened = False

    def get(self, path: str) -> Content | None:
        """A file of the page or of the network."""
        found = self._files.get(path)
        if found is not None:
            with self._changed:
                self._heard, self._opened = time.monotonic(), True
        return found

    def limit(self, path: str) -> int | None:
        """Outputs have exactly one size, reports grow with the number of samples."""
        if path == "report":
            return REPORT_BYTES + SAMPLE_BYTES * self._task.runs
        if path == "failure":
            return FAILURE_BYTES
        index = _output_index(path)
        if index is None or index >= len(self._model.outputs):
            return None
        return self._model.expected[self._model.outputs[index].name].nbytes

    def post(self, path: str, body: bytes) -> str | None:
        """Keep an output, a report or a failure; once the page has finished nothing more is taken."""
        with self._changed:
            if self._done():
                return "this measurement is over"
            try:
                self._keep(path, body)
            except UsageError as error:
                return error.message
            self._heard = time.monotonic()
            self._changed.notify_all()
        return None

    def _keep(self, path: str, body: bytes) -> None:
        if path == "failure":
            self._failure = read_failure(body)
        elif path == "report":
            report = read_report(body, self._task.runs)
            if len(self._outputs) != len(self._model.outputs):
                raise UsageError("the outputs must come before the samples")
            if self._report and len(report.samples_ms) < len(self._report.samples_ms):
                raise UsageError("another page is being measured")
            self._report = report
        elif len(body) != self.limit(path):
            raise UsageError(f"an output of {self.limit(path)} bytes has {len(body)}")
        else:
            index = _output_index(path)
            assert index is not None
            self._outputs[index] = body

    def _done(self) -> bool:
        return self._failure is not None or (self._report is not None and self._report.finished)

    def wait(self, seconds: float) -> bool:
        """Wait until the page has finished or failed, or `seconds` have passed; whether it has."""
        with self._changed:
            return self._changed.wait_for(self._done, seconds)

    @property
    def silent_seconds(self) -> float:
        """Time since a page fetched or posted something, or since the beginning."""
        with self._changed:
            return time.monotonic() - self._heard

    @property
    def opened(self) -> bool:
        """Whether a page has fetched anything."""
        with self._changed:
            return self._opened

    @property
    def report(self) -> PageReport | None:
        """The latest report."""
        with self._changed:
            return self._report

    @property
    def failure(self) -> str | None:
        """What the page says has failed."""
        with self._changed:
            return self._failure

    def outputs(self) -> dict[str, np.ndarray]:
        """What the page computed, by name, in the shapes of LiteRT's outputs; empty before all are there."""
        with self._changed:
            if len(self._outputs) != len(self._model.outputs):
                return {}
            found = {}
            for index, spec in enumerate(self._model.outputs):
                like = self._model.expected[spec.name]
                found[spec.name] = np.frombuffer(self._outputs[index], like.dtype).reshape(like.shape)
            return found


def _output_index(path: str) -> int | None:
    folder, _, number = path.partition("/")
    plain = number.isascii() and number.isdigit() and len(number) <= 3 and str(int(number)) == number
    return int(number) if folder == "output" and plain else None


def page_files(built: Path = BUILT) -> dict[str, Content]:
    """Path -> content of all files of the built page that a browser may fetch; "" is the page itself.

    Raises:
        MissingDependencyError: the built page is not there.
    """
    found = {}
    for file in sorted(file for file in built.rglob("*") if file.is_file()):
        packed = file.suffix == GZIP
        name = file.relative_to(built).as_posix().removesuffix(GZIP)
        kind = KINDS.get(Path(name).suffix)
        if kind is not None:
            found[name] = Content(file.read_bytes(), kind, "gzip" if packed else None)
    if "index.html" not in found:
        raise MissingDependencyError(
            "the page of the browser benchmark is not part of this installation",
            "install a wheel of mobile-toolchain, or `npm ci && npm run build` in benchmarks/devices/page",
        )
    return {"": found.pop("index.html"), **found}


def _model_files(model: WebModel, task: Task) -> dict[str, Content]:
    values: dict[str, Any] = {
        "protocol": PROTOCOL,
        "label": task.label,
        "backend": task.backend,
        "runs": task.runs,
        "warmup_s": task.warmup_s,
        "inputs": [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype} for s in model.inputs],
        "outputs": [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype} for s in model.outputs],
    }
    files = {
        "task.json": Content(json.dumps(values).encode(), JSON),
        "model.tflite": Content(model.data, BYTES),
    }
    if model.sidecar is not None:
        files["model.tflite.json"] = Content(model.sidecar, JSON)
    for index, spec in enumerate(model.inputs):
        files[f"input/{index}"] = Content(model.arrays[spec.name].tobytes(), BYTES)
    return files
