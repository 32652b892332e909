"""The browser lane against pages that tell the truth, lie, fall silent, or never come."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.benchmarks.devices.server import PageServer
from toolchain.benchmarks.devices.web import WebOptions, measure_in_browser
from toolchain.benchmarks.devices.web_model import agreement, web_model
from toolchain.benchmarks.devices.web_report import browser_name, read_report
from toolchain.benchmarks.harness.inputs import random_input
from toolchain.benchmarks.harness.results import BROWSER, EMULATOR, Results, from_json
from toolchain.cli import run
from toolchain.errors import MissingDependencyError, ParityError, ToolchainError, UnsupportedError, UsageError

SHAPE = (1, 8, 8, 4)
ANDROID_CHROME = (
    "Mozilla/5.0 (Linux; Android 15; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/150.0.0.0 Mobile Safari/537.36"
)
REPORT: dict[str, Any] = {
    "protocol": 1,
    "finished": True,
    "user_agent": ANDROID_CHROME,
    "cross_origin_isolated": True,
    "secure_context": True,
    "hardware_concurrency": 8,
    "device_memory_gb": 8,
    "timer_resolution_ms": 0.005,
    "litertjs": "2.5.3",
    "variant": "relaxed SIMD",
    "gpu": None,
    "was_hidden": False,
    "runtime_ms": 120.5,
    "load_ms": 14.0,
    "first_ms": 6.5,
    "warmup_runs": 15,
    "steady": True,
    "repeats": 2,
    "samples_ms": [5.0, 5.5, 5.25],
    "at_s": [0.0, 0.01, 0.02],
}
Page = Callable[["Visitor"], None]


class Visitor:
    """A page as the server sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[tuple[str, int, str]] = []

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read()

    def post(self, path: str, body: bytes | dict[str, Any]) -> int:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(self.url + path, data, timeout=10) as answer:
                status, text = answer.status, ""
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        self.answers.append((path, status, text))
        return status

    def double(self) -> bytes:
        """What the network computes of the input that the server gives."""
        return (2 * np.frombuffer(self.get("input/0"), np.float32)).tobytes()


Measure = Callable[..., tuple[Results, Visitor]]


@pytest.fixture
def measure(write_multiplication: Callable[..., Path]) -> Measure:
    """Function (page, **options) -> results and the visitor that ran the page."""

    def go(page: Page | None, **options: Any) -> tuple[Results, Visitor]:
        visitors: list[Visitor] = []
        pages: list[threading.Thread] = []

        def opened(server: PageServer) -> None:
            visitors.append(Visitor(server.url))
            if page is not None:
                pages.append(threading.Thread(target=page, args=visitors, daemon=True))
                pages[0].start()

        chosen = WebOptions(**{"runs": 3, "timeout": 20.0, **options})
        model = write_multiplication("net.tflite", SHAPE)
        results = measure_in_browser(model, chosen, ["toolchain", "benchmark", "web"], opened)
        # A report is taken before the page has the answer to it.
        for thread in pages:
            thread.join(10)
        return results, visitors[0]

    return go


def honest(visitor: Visitor, **changes: Any) -> None:
    visitor.get("")
    visitor.post("output/0", visitor.double())
    visitor.post("report", {**REPORT, **changes})


def test_what_the_page_measured_is_kept(measure: Measure) -> None:
    results, _ = measure(honest, seed=3)
    (entry,) = results.entries
    assert entry.samples == {"inference": [5.0, 5.5, 5.25], "total": [5.0, 5.5, 5.25]}
    assert (entry.at_s, entry.repeats, entry.warmup_runs) == ([0.0, 0.01, 0.02], 2, 15)
    assert (entry.load_ms, entry.first_ms, entry.steady, entry.threads) == (14.0, 6.5, True, 1)
    assert entry.runtime == "LiteRT.js 2.5.3, WebAssembly relaxed SIMD"
    assert entry.partial is None
    assert (results.lane.where, results.lane.name) == (BROWSER, "Chrome 150 on Android")
    details = results.lane.details
    assert details["user_agent"] == ANDROID_CHROME
    assert details["cross_origin_isolated"] is True
    assert details["hardware_concurrency"] == 8
    assert details["outputs_against_litert"]["max_abs"] == 0
    assert from_json(json.loads(json.dumps(results.as_json())), "made") == results


def test_the_page_gets_what_it_needs_and_no_more(measure: Measure) -> None:
    got: dict[str, Any] = {}

    def page(visitor: Visitor) -> None:
        got["task"] = json.loads(visitor.get("task.json"))
        got["input"] = np.frombuffer(visitor.get("input/0"), np.float32).reshape(SHAPE)
        got["model"] = visitor.get("model.tflite")[4:8]
        for path in ("input/1", "model.tflite.json", "LICENSES.txt", "wasm/", "../server.py"):
            with pytest.raises(urllib.error.HTTPError):
                visitor.get(path)
        honest(visitor)

    measure(page, seed=5)
    assert got["model"] == b"TFL3"
    np.testing.assert_array_equal(got["input"], random_input(SHAPE, np.float32, 5))
    assert got["task"] == {
        "protocol": 1, "label": "net.tflite", "backend": "wasm", "runs": 3, "warmup_s": 5.0,
        "inputs": [{"name": "x", "shape": list(SHAPE), "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": list(SHAPE), "dtype": "float32"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    "gpu", ["google swiftshader SwiftShader Device (Subzero)", "mesa llvmpipe", "x fallback adapter"]
)
def test_a_gpu_that_is_a_program_is_emulated(measure: Measure, gpu: str) -> None:
    results, _ = measure(lambda visitor: honest(visitor, gpu=gpu), backend="webgpu")
    assert results.lane.where == EMULATOR
    assert results.entries[0].threads is None
    real, _ = measure(lambda visitor: honest(visitor, gpu="qualcomm adreno-7xx"), backend="webgpu")
    assert real.lane.where == BROWSER


def test_other_outputs_are_refused(measure: Measure) -> None:
    def page(visitor: Visitor) -> None:
        outputs = np.frombuffer(visitor.double(), np.float32).copy()
        outputs[7] += 1.0
        visitor.post("output/0", outputs.tobytes())
        visitor.post("report", REPORT)

    with pytest.raises(ParityError, match="largest difference 1, SQNR"):
        measure(page)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": 2}, "speaks protocol '2', this toolchain 1"),
        ({"samples_ms": [5.0, -1.0, 5.0]}, "'samples_ms'"),
        ({"samples_ms": [5.0, "5", 5.0]}, "'samples_ms'"),
        ({"samples_ms": [5.0, True, 5.0]}, "'samples_ms'"),
        ({"samples_ms": [5.0, 0.0, 5.0]}, "times of zero"),
        ({"samples_ms": [5.0, 1e300, 5.0]}, "'samples_ms'"),
        ({"samples_ms": [5.0] * 4, "at_s": [0.0] * 4}, "too many samples"),
        ({"samples_ms": [5.0]}, "as many times as samples"),
        ({"samples_ms": [5.0], "at_s": [0.0]}, "finished with 1 of 3"),
        ({"at_s": [0.0, 2.0, 1.0]}, "out of order"),
        ({"repeats": 0}, "times of zero"),
        ({"repeats": 1.5}, "'repeats'"),
        ({"timer_resolution_ms": 0}, "times of zero"),
        ({"user_agent": "\x1b[2J"}, "'user_agent'"),
        ({"user_agent": "x" * 2000}, "'user_agent'"),
        ({"finished": 1}, "'finished'"),
        ({"gpu": 3}, "'gpu'"),
        ({"more": 1}, "other fields"),
    ],
)
def test_reports_that_are_none_are_refused_and_the_next_one_is_taken(
    measure: Measure, changes: dict[str, Any], reason: str
) -> None:
    def page(visitor: Visitor) -> None:
        visitor.post("output/0", visitor.double())
        visitor.post("report", {**REPORT, **changes})
        visitor.post("report", REPORT)

    results, visitor = measure(page)
    (_, first, text), (_, second, _) = visitor.answers[1:]
    assert (first, second) == (400, 200)
    assert reason in text
    assert results.entries[0].samples["total"] == REPORT["samples_ms"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("report", b"{", 400),
        ("report", b"[" * 5000, 400),
        ("report", json.dumps({**REPORT, "load_ms": float("nan")}).encode(), 400),
        ("report", b" " * 100_000, 413),
        ("output/0", b"1234", 400),
        ("output/0", bytes(8 * 8 * 4 * 4 + 1), 413),
        ("output/1", b"1234", 404),
        ("output/00", b"1234", 404),
        ("output/-1", b"1234", 404),
        ("task.json", b"{}", 404),
    ],
)
def test_posts_that_do_not_fit_are_refused(measure: Measure, path: str, body: bytes, status: int) -> None:
    def page(visitor: Visitor) -> None:
        visitor.post(path, body)
        honest(visitor)

    results, visitor = measure(page)
    assert visitor.answers[0][:2] == (path, status)
    assert len(results.entries[0].samples["total"]) == 3


def test_samples_without_outputs_are_refused(measure: Measure) -> None:
    def page(visitor: Visitor) -> None:
        visitor.post("report", REPORT)
        honest(visitor)

    _, visitor = measure(page)
    assert visitor.answers[0] == ("report", 400, "the outputs must come before the samples\n")


@pytest.mark.parametrize("ending", ["silence", "failure"])
def test_a_page_that_goes_away_leaves_its_samples(measure: Measure, ending: str) -> None:
    def page(visitor: Visitor) -> None:
        honest(visitor, finished=False, samples_ms=[5.0, 5.5], at_s=[0.0, 0.01])
        if ending == "failure":
            visitor.post("failure", {"protocol": 1, "message": "out of memory", "user_agent": "x"})

    results, _ = measure(page, timeout=1.0)
    (entry,) = results.entries
    assert entry.samples["total"] == [5.0, 5.5]
    said = {"silence": "the page fell silent for 1 s", "failure": "out of memory"}[ending]
    assert entry.partial == f"{said}, after 2 of 3 samples"


def fails(visitor: Visitor) -> None:
    visitor.get("")
    visitor.post(
        "failure", {"protocol": 1, "message": "this browser has no\x1b[2J WebGPU", "user_agent": "x"}
    )


@pytest.mark.parametrize(
    ("page", "options", "kind", "message"),
    [
        (None, {"timeout": 0.5}, UsageError, "no results: nobody opened the page for 0.5 s"),
        (lambda v: v.get(""), {"timeout": 0.5}, UsageError, "no results: the page fell silent for 0.5 s"),
        (fails, {}, UnsupportedError, r"the page cannot measure: this browser has no \[2J WebGPU"),
        (None, {"backend": "webgl"}, UsageError, "unknown backend 'webgl'"),
        (None, {"runs": 0}, UsageError, "0 runs"),
        (None, {"browser": "nowhere/browser"}, MissingDependencyError, "no browser at 'nowhere/browser'"),
        (None, {"browser": "false"}, UsageError, "the browser ended with status 1: it said nothing"),
    ],
)
def test_no_results_are_one_error(
    measure: Measure, page: Page | None, options: dict[str, Any], kind: type[ToolchainError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        measure(page, **options)


def test_files_that_are_none(tmp_path: Path, write_multiplication: Callable[..., Path]) -> None:
    text = tmp_path / "text.tflite"
    text.write_bytes(b"not a flatbuffer at all")
    with pytest.raises(UnsupportedError, match=r"is not a \.tflite file"):
        web_model(text)
    with pytest.raises(UsageError, match="no model file"):
        web_model(tmp_path / "missing.tflite")
    other = tmp_path / "net.onnx"
    other.write_bytes(b"")
    package = tmp_path / "net.mlpackage"
    package.mkdir()
    for path in (other, package):
        with pytest.raises(UsageError, match=r"is no \.tflite file"):
            web_model(path)


def test_the_command_says_one_line(
    write_multiplication: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_multiplication("net.tflite")
    with PageServer(None) as taken:  # type: ignore[arg-type]
        assert run(["benchmark", "web", str(path), "--port", str(taken.port)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0].startswith(
        f"error: nothing can be served on 127.0.0.1 port {taken.port}"
    )
    assert len(shown.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (ANDROID_CHROME, "Chrome 150 on Android"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.5 Mobile/15E148 Safari/604.1",
            "Safari 18.5 on iPhone",
        ),
        ("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox 140 on Android"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0",
            "Edge 150 on Windows",
        ),
        ("something new", "something new"),
        ("", "unnamed browser"),
    ],
)
def test_browsers_have_names(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name


def test_differences_are_found() -> None:
    expected = {"y": np.array([1.0, -4.0, np.nan, np.inf])}
    same = agreement(expected, {"y": expected["y"].copy()})
    assert (same.max_abs, same.scale, same.sqnr_db) == (0.0, 4.0, 200.0)
    near = agreement(expected, {"y": expected["y"] + np.array([0.1, 0, 0, 0])})
    assert near.max_abs == pytest.approx(0.1)
    assert near.sqnr_db == pytest.approx(10 * np.log10(17 / 0.01))
    for index, wrong in ((0, np.nan), (2, 1.0), (3, -np.inf), (3, 5.0)):
        changed = expected["y"].copy()
        changed[index] = wrong
        found = agreement(expected, {"y": changed})
        assert (found.max_abs, found.sqnr_db) == (np.inf, -200.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(REPORT)), JSON)
def test_any_field_is_taken_or_refused_and_never_breaks(name: str, value: Any) -> None:
    body = json.dumps({**REPORT, name: value}).encode()
    try:
        report = read_report(body, 3)
    except UsageError:
        return
    assert all(sample > 0 for sample in report.samples_ms)
    assert type(getattr(report, name)) in (type(REPORT[name]), int, float, str, type(None))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(UsageError):
        read_report(body, 3)
