"""Latency of a .tflite file in a browser: this computer serves a page, the browser measures and tells."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from toolchain.benchmarks.devices.server import LOOPBACK, PageServer
from toolchain.benchmarks.devices.web_browser import HeadlessBrowser
from toolchain.benchmarks.devices.web_model import WebModel, agreement, check_agreement, web_model
from toolchain.benchmarks.devices.web_report import PageReport, browser_name
from toolchain.benchmarks.devices.web_site import BenchmarkSite, Task
from toolchain.benchmarks.environment import environment
from toolchain.benchmarks.harness.contender import INFERENCE, TOTAL
from toolchain.benchmarks.harness.results import BROWSER, EMULATOR, MODEL, Entry, Lane, Results, from_json
from toolchain.errors import ToolchainError, UnsupportedError, UsageError

WASM, WEBGPU = "wasm", "webgpu"
BACKENDS = (WASM, WEBGPU)
MOST_RUNS = 100_000
POLL_SECONDS = 0.25
TIMED = {
    WASM: "LiteRT.js run() on WebAssembly, inputs set before, outputs left there",
    WEBGPU: "LiteRT.js run() on WebGPU, inputs on the GPU before, until the outputs are copied back",
}


@dataclass(frozen=True)
class WebOptions:
    """How a browser measures.

    Attributes:
        backend: "wasm" or "webgpu" (in fp32).
        runs: samples; each is several runs where the browser's clock is too coarse for one.
        warmup: longest warm-up in seconds.
        timeout: longest silence of the page in seconds, its opening included.
        seed: of the inputs.
        host: address to serve on.
        port: port; 0 takes a free one.
        browser: program that is started without a window; None waits for somebody to open the page.
    """

    backend: str = WASM
    runs: int = 50
    warmup: float = 5.0
    timeout: float = 120.0
    seed: int = 0
    host: str = LOOPBACK
    port: int = 0
    browser: str | None = None

    def check(self) -> None:
        """Raises UsageError for values that cannot be."""
        if self.backend not in BACKENDS:
            raise UsageError(f"unknown backend '{self.backend}'", f"backends are {', '.join(BACKENDS)}")
        if not 1 <= self.runs <= MOST_RUNS:
            raise UsageError(f"{self.runs} runs cannot be measured", f"give 1 to {MOST_RUNS}")
        if not self.timeout > 0 or self.warmup < 0:
            raise UsageError("a time must be positive", "--timeout 120 --warmup 5")


def measure_in_browser(
    path: Path,
    options: WebOptions,
    command: Sequence[str],
    on_url: Callable[[PageServer], None] = lambda _server: None,
    on_stage: Callable[[str], None] = lambda _text: None,
) -> Results:
    """Serve the page until a browser has measured `path` on it.

    Args:
        path: the .tflite file.
        options: how.
        command: the words of the command line.
        on_url: told the server as soon as the page can be opened.
        on_stage: told what is waited for.

    Returns:
        One entry; marked as partial when the page fell silent after some samples. The lane is "browser", or
        "emulator" where a program stands in for the GPU.

    Raises:
        UsageError: no such file, the port is in use, or the page never answered.
        UnsupportedError: the file or the browser cannot do it.
        ParityError: the browser's outputs differ from LiteRT's.
        MissingDependencyError: no such browser, or the page is not installed.
    """
    options.check()
    model = web_model(path, options.seed)
    name = model.file.model or path.name
    site = BenchmarkSite(model, Task(name, options.backend, options.runs, options.warmup))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(PageServer(site, options.host, options.port))
        on_url(server)
        browser = None
        if options.browser is not None:
            started = HeadlessBrowser(options.browser, server.url, gpu=options.backend == WEBGPU)
            browser = stack.enter_context(started)
        gone = _wait(site, browser, options, on_stage)
    return _results(model, site, options, command, gone)


def _wait(
    site: BenchmarkSite, browser: HeadlessBrowser | None, options: WebOptions, on_stage: Callable[[str], None]
) -> str | None:
    """Wait for the page's end; why it will never come, or None."""
    while not site.wait(POLL_SECONDS):
        if browser is not None and browser.ended is not None:
            return f"the browser ended with status {browser.ended}: {browser.last_words()}"
        if site.silent_seconds > options.timeout:
            said = "the page fell silent" if site.opened else "nobody opened the page"
            return f"{said} for {options.timeout:g} s"
        report = site.report
        done = len(report.samples_ms) if report else 0
        on_stage(
            f"{done} of {options.runs} samples" if site.opened else "waiting for a browser to open the page"
        )
    return None


def _results(
    model: WebModel, site: BenchmarkSite, options: WebOptions, command: Sequence[str], gone: str | None
) -> Results:
    report, outputs = site.report, site.outputs()
    stopped = site.failure or gone
    if report is None or not report.samples_ms or not outputs:
        raise _failed(site, gone)
    where = browser_name(report.user_agent)
    found = agreement(model.expected, outputs)
    demanded = check_agreement(found, model, where)
    name = Path(model.file.path).name
    details = {
        "user_agent": report.user_agent,
        "backend": options.backend,
        "cross_origin_isolated": report.cross_origin_isolated,
        "secure_context": report.secure_context,
        "hardware_concurrency": report.hardware_concurrency,
        "device_memory_gb": report.device_memory_gb,
        "timer_resolution_ms": report.timer_resolution_ms,
        "litertjs": report.litertjs,
        "webassembly": report.variant,
        "gpu": report.gpu,
        "was_hidden": report.was_hidden,
        "runtime_load_ms": report.runtime_ms,
        "outputs_against_litert": {
            "max_abs": found.max_abs,
            "sqnr_db": found.sqnr_db,
            "demanded": demanded,
        },
    }
    made = Results(
        kind=MODEL,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(command),
        lane=Lane(EMULATOR if report.emulated else BROWSER, where, details),
        machine=environment(),
        settings={
            "runs": options.runs,
            "warmup_seconds": options.warmup,
            "seed": options.seed,
            "backend": options.backend,
            "timed": {name: TIMED[options.backend]},
        },
        entries=[_entry(name, model, report, options, stopped)],
    )
    # What came from the page passes the same check as a file that somebody else wrote.
    return from_json(json.loads(json.dumps(made.as_json(), allow_nan=False)), "the page's results")


def _entry(name: str, model: WebModel, report: PageReport, options: WebOptions, stopped: str | None) -> Entry:
    how = "WebGPU fp32" if options.backend == WEBGPU else f"WebAssembly {report.variant}"
    return Entry(
        name=name,
        runtime=f"LiteRT.js {report.litertjs}, {how}",
        threads=1 if options.backend == WASM else None,
        file=model.file,
        load_ms=report.load_ms,
        first_ms=report.first_ms,
        warmup_runs=report.warmup_runs,
        steady=report.steady,
        repeats=report.repeats,
        samples={INFERENCE: list(report.samples_ms), TOTAL: list(report.samples_ms)},
        at_s=list(report.at_s),
        partial=stopped and f"{stopped}, after {len(report.samples_ms)} of {options.runs} samples",
    )


def _failed(site: BenchmarkSite, gone: str | None) -> ToolchainError:
    if site.failure is not None:
        return UnsupportedError(
            f"the page cannot measure: {site.failure}", "try the other --backend, or another browser"
        )
    return UsageError(
        f"no results: {gone}",
        "open the URL in a browser that can reach this computer, or name one with --browser; "
        "--timeout waits longer",
    )
