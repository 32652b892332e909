"""The results file of every benchmark: host, browser and device alike write it, reports and gates read it.

One JSON object with `format`, `version`, and the fields of `Results`. All samples are kept, so that any
figure can be computed again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from toolchain.benchmarks.report import save_json
from toolchain.errors import UsageError

FORMAT = "toolchain-benchmark"
VERSION = 1

HOST, BROWSER, DEVICE, EMULATOR = "host", "browser", "device", "emulator"
LANES = (HOST, BROWSER, DEVICE, EMULATOR)
MODEL, PIPELINE = "model", "pipeline"
KINDS = (MODEL, PIPELINE)
# How the runtime of a Core ML file begins that no Core ML ran; its times are never those of a phone.
REFERENCE_INTERPRETER = "reference interpreter"
# Figures that a results file carries for other readers; computed anew from the samples here.
SUMMARY = "summary"
PRINTED = (SUMMARY, "fps", "stages", "pipelines")
# No time in milliseconds and no memory comes near.
LARGEST = 1e15


@dataclass(frozen=True)
class Lane:
    """Where figures come from.

    Attributes:
        where: "host", "browser", "device" or "emulator".
        name: of the processor, browser or device, as the reader knows it.
        details: what else is known of it: user agent, Android release, thermal state before and after.
    """

    where: str
    name: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def emulated(self) -> bool:
        """Whether its times say nothing about any real device; they are never published as latency."""
        return self.where == EMULATOR


@dataclass(frozen=True)
class MeasuredFile:
    """The artefact behind an entry.

    Attributes:
        path: as given.
        sha256: of the file, or of all files of a package in the order of their names.
        bytes: size.
        format: "tflite", "onnx", "mlpackage", "mlmodel" or "torch".
        precision: "fp32", "fp16", "int8", "w8"; None when nothing says so.
        model: name in its sidecar; None without one.
        parity: the sidecar's parity figures; None without one.
    """

    path: str
    sha256: str
    bytes: int
    format: str
    precision: str | None = None
    model: str | None = None
    parity: dict[str, Any] | None = None


@dataclass(frozen=True)
class Entry:
    """What was measured of one contender.

    Attributes:
        name: unique among the entries of a file.
        runtime: name, version, and delegate or compute unit of what ran it.
        threads: of one operator; None where that cannot be set or known.
        file: None for what is no file.
        load_ms: making it ready.
        first_ms: the first run, which is no sample.
        warmup_runs: runs before the first sample.
        steady: whether the time had settled by then.
        repeats: runs behind every sample, which is their mean.
        samples: milliseconds by stage in the order of time; the lists are equally long; "total" is always
            among them.
        at_s: when each sample began, in seconds from the start of the measurement.
        memory_mb: resident memory by moment: "before", "loaded", "peak"; empty where not known.
        operators: per-operator times, slowest first: `name`, `op`, `ms`, `share` (0-1); None without a
            profile.
        shares: further shares that belong to a pipeline (0-1), such as "detected" of all frames.
        partial: why the measurement ended early; None when it did not.
        waited_ms: how much of each "total" the measuring thread waited for a core that other programs had;
            empty where the system does not tell.
    """

    name: str
    runtime: str
    threads: int | None
    file: MeasuredFile | None
    load_ms: float
    first_ms: float
    warmup_runs: int
    steady: bool
    repeats: int
    samples: dict[str, list[float]]
    at_s: list[float]
    memory_mb: dict[str, float] = field(default_factory=dict)
    operators: list[dict[str, Any]] | None = None
    shares: dict[str, float] = field(default_factory=dict)
    partial: str | None = None
    waited_ms: list[float] = field(default_factory=list)

    @property
    def reference_interpreter(self) -> bool:
        """Whether a stand-in for Core ML ran it; its times are never published as latency of Core ML."""
        return self.runtime.startswith(REFERENCE_INTERPRETER)


@dataclass(frozen=True)
class Results:
    """One run of a benchmark.

    Attributes:
        kind: "model" or "pipeline".
        created: UTC, ISO 8601.
        command: the words of the command line.
        lane: where the figures come from.
        machine: `toolchain.benchmarks.environment.environment()` of the computer that ran the command.
        settings: what the measurement was asked for: runs, seconds, seed, source.
        entries: one per contender.
        profile_note: how the operators' times were obtained; None without a profile.
    """

    kind: str
    created: str
    command: list[str]
    lane: Lane
    machine: dict[str, Any]
    settings: dict[str, Any]
    entries: list[Entry]
    profile_note: str | None = None

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def save_results(results: Results, path: Path) -> None:
    """Write a results file, whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    save_json(results.as_json(), path)


def load_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        UsageError: it cannot be read, is none, or is of another version.
    """
    hint = "give a file that `toolchain benchmark --output` wrote"
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}", hint) from error
    except ValueError as error:
        raise UsageError(f"'{path}' is no JSON: {error}", hint) from error
    return from_json(found, str(path))


def from_json(found: Any, name: str) -> Results:
    """The results in a decoded JSON document.

    Raises:
        UsageError: they are none, or of another version; `name` is in the message.
    """
    hint = "give a file that `toolchain benchmark --output` wrote"
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsageError(f"'{name}' is no results file of a benchmark", hint)
    if found.get("version") != VERSION:
        raise UsageError(
            f"'{name}' is a results file of version {found.get('version')!r}; this toolchain reads {VERSION}",
            "measure again, or read it with the toolchain that wrote it",
        )
    body = {key: value for key, value in found.items() if key not in ("format", "version", *PRINTED)}
    try:
        entries = [
            Entry(**{**entry, "file": entry["file"] and MeasuredFile(**entry["file"])})
            for entry in body.pop("entries")
        ]
        results = Results(**{**body, "lane": Lane(**body["lane"]), "entries": entries})
        _check(results)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"'{name}' is a damaged results file: {error!r}", hint) from error
    return results


def _check(results: Results) -> None:
    if results.kind not in KINDS or results.lane.where not in LANES:
        raise ValueError(f"kind {results.kind!r} from {results.lane.where!r}")
    names = [entry.name for entry in results.entries]
    if len(set(names)) != len(names):
        raise ValueError(f"entries share a name: {names}")
    for entry in results.entries:
        lengths = {len(values) for values in entry.samples.values()} | {len(entry.at_s)}
        if "total" not in entry.samples or len(lengths) != 1:
            raise ValueError(f"samples of '{entry.name}' are incomplete")
        if len(entry.waited_ms) not in (0, len(entry.at_s)):
            raise ValueError(f"waiting times of '{entry.name}' are incomplete")
        times = [*entry.at_s, *entry.waited_ms, entry.load_ms, entry.first_ms, *entry.memory_mb.values()]
        if not all(map(_is_figure, chain(times, *entry.samples.values()))):
            raise ValueError(f"samples of '{entry.name}' are no times")
        if not isinstance(entry.name, str) or not isinstance(entry.runtime, str):
            raise ValueError("an entry has no name or runtime")


def _is_figure(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < LARGEST  # type: ignore[operator]
