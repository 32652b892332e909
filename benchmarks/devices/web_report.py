"""What a page tells: untrusted JSON, checked field by field."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, get_type_hints

from toolchain.errors import UsageError

PROTOCOL = 1
LONGEST_TEXT = 1000
# WebGPU adapters that are a processor in truth.
SOFTWARE_GPU = re.compile(r"swiftshader|llvmpipe|lavapipe|basic render|fallback adapter", re.IGNORECASE)
# Most particular first: Chromium's relatives call themselves Chrome and Safari as well.
BROWSERS = (
    ("Edge", r"Edg(?:A|iOS)?/(\d+)"),
    ("Samsung Internet", r"SamsungBrowser/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Headless Chrome", r"HeadlessChrome/(\d+)"),
    ("Chrome", r"(?:Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+(?:\.\d+)?).*Safari/"),
)
SYSTEMS = (
    ("Android", r"Android"),
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("ChromeOS", r"CrOS"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X"),
    ("Linux", r"Linux"),
)


@dataclass(frozen=True)
class PageReport:
    """What a page measured; times in milliseconds.

    Attributes:
        protocol: number that page and server share.
        finished: whether all samples are there.
        user_agent: how the browser calls itself.
        cross_origin_isolated: whether the page was isolated, which makes the clock finer.
        secure_context: whether the browser took the page for secure.
        hardware_concurrency: processors that the browser tells of, often fewer than there are.
        device_memory_gb: memory that it tells of, rounded; None where it does not.
        timer_resolution_ms: least step of its clock.
        litertjs: version of @litertjs/core.
        variant: which WebAssembly: "relaxed SIMD" or "SIMD".
        gpu: name of the WebGPU adapter; None on WebAssembly.
        was_hidden: whether the page was in the background meanwhile.
        runtime_ms: loading LiteRT.js itself.
        load_ms: compiling the network, the download excluded.
        first_ms: the first run.
        warmup_runs: runs before the first sample.
        steady: whether the time had settled.
        repeats: runs behind a sample.
        samples_ms: mean time of a run, a sample each.
        at_s: when each sample began, in seconds from the first.
    """

    protocol: int
    finished: bool
    user_agent: str
    cross_origin_isolated: bool
    secure_context: bool
    hardware_concurrency: int
    device_memory_gb: float | None
    timer_resolution_ms: float
    litertjs: str
    variant: str
    gpu: str | None
    was_hidden: bool
    runtime_ms: float
    load_ms: float
    first_ms: float
    warmup_runs: int
    steady: bool
    repeats: int
    samples_ms: list[float]
    at_s: list[float]

    @property
    def emulated(self) -> bool:
        """Whether a program stands in for the GPU; its times say nothing about any."""
        return self.gpu is not None and SOFTWARE_GPU.search(self.gpu) is not None


def read_report(body: bytes, runs: int) -> PageReport:
    """Decode and check a report.

    Args:
        body: what was posted.
        runs: samples that were asked for; more are refused.

    Raises:
        UsageError: it is no such report, or of another protocol.
    """
    values = _decoded(body)
    hints = get_type_hints(PageReport)
    names = [field.name for field in fields(PageReport)]
    if sorted(values) != sorted(names):
        raise UsageError("the page's report has other fields than it should")
    for name in names:
        if not _fits(values[name], hints[name]):
            raise UsageError(f"'{name}' in the page's report is no {hints[name]}")
    report = PageReport(**values)
    if len(report.samples_ms) != len(report.at_s) or len(report.samples_ms) > runs:
        raise UsageError("the page's report has too many samples, or as many times as samples it has not")
    if report.finished and len(report.samples_ms) != runs:
        raise UsageError(
            f"the page says that it has finished with {len(report.samples_ms)} of {runs} samples"
        )
    if report.repeats < 1 or not report.timer_resolution_ms > 0 or any(not s > 0 for s in report.samples_ms):
        raise UsageError("the page's report has times of zero")
    if any(later < earlier for earlier, later in pairwise(report.at_s)):
        raise UsageError("the samples in the page's report are out of order")
    return report


def read_failure(body: bytes) -> str:
    """The sentence in which a page says what failed.

    Raises:
        UsageError: it is none.
    """
    message = _decoded(body).get("message")
    if not isinstance(message, str) or not 0 < len(message) <= LONGEST_TEXT:
        raise UsageError("the page's failure has no message")
    return " ".join(printable(message).split())


def printable(text: str) -> str:
    """Text without control characters, which could rewrite a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def browser_name(user_agent: str) -> str:
    """Such as "Chrome 150 on Android"; the beginning of the user agent when it is none of the known ones."""
    system = next((name for name, pattern in SYSTEMS if re.search(pattern, user_agent)), None)
    for name, pattern in BROWSERS:
        if found := re.search(pattern, user_agent):
            return f"{name} {found[1]}" + (f" on {system}" if system else "")
    return user_agent[:60] or "unnamed browser"


def _decoded(body: bytes) -> dict[str, Any]:
    def no_constant(name: str) -> float:
        raise ValueError(f"{name} is no number")

    try:
        values = json.loads(body, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the page sent no JSON: {error}") from error
    if not isinstance(values, dict):
        raise UsageError("the page sent no JSON object")
    if values.get("protocol") != PROTOCOL:
        raise UsageError(
            f"the page speaks protocol {str(values.get('protocol'))[:20]!r}, this toolchain {PROTOCOL}",
            "reload the page without the cache",
        )
    return values


def _fits(value: Any, hint: Any) -> bool:
    if hint == list[float]:
        return isinstance(value, list) and all(_is_time(item) for item in value)
    if hint == (float | None) or hint == (str | None):
        kind = float if hint == (float | None) else str
        return value is None or _fits(value, kind)
    if hint is float:
        return _is_time(value)
    if hint is str:
        return isinstance(value, str) and len(value) <= LONGEST_TEXT and value == printable(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
    return isinstance(value, bool)


def _is_time(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < 1e12 and math.isfinite(value)
