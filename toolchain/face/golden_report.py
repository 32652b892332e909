"""Golden cases of figures, and of the results file that an app writes for `toolchain benchmark report`."""

from __future__ import annotations

from typing import Any

from toolchain.benchmarks.harness.figures import figures
from toolchain.benchmarks.harness.results import DEVICE, PIPELINE, Entry, Lane, MeasuredFile, Results
from toolchain.benchmarks.pipeline import STAGES
from toolchain.face.golden_cases import case, refusal

TOTAL = "total"
# What thermal states an app records before and after: Android's PowerManager or iOS's ProcessInfo, by name.
THERMAL = {"android": ("none", "light"), "ios": ("nominal", "fair")}


def statistics_cases() -> list[dict[str, Any]]:
    """All cases of statistics.json."""
    rising = [10.0 + 0.25 * step for step in range(30)]
    outlying = [8.0 + step % 3 * 0.125 for step in range(40)]
    outlying[7], outlying[23] = 60.0, 31.5
    ways: dict[str, list[float]] = {
        "one sample": [4.25],
        "two samples": [3.0, 5.0],
        "five samples out of order": [9.0, 1.0, 4.0, 16.0, 2.0],
        "eight samples have no drift": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        "nine samples have": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        "all the same": [2.5] * 12,
        "but for one all the same": [2.5] * 11 + [9.0],
        "rising": rising,
        "outliers": outlying,
        "drift from zero is none": [0.0] * 4 + [1.0] * 8,
        "a hundred and one": [float((step * 37) % 101) for step in range(101)],
        "none": [],
        "not finite": [1.0, float("nan")],
    }
    return [
        case("figures", _figures, f"figures of {name}", samples=samples) for name, samples in ways.items()
    ]


def _figures(samples: list[Any]) -> dict[str, Any]:
    values = [float(value) for value in samples]
    try:
        return figures(values).as_json()
    except ValueError:
        return refusal("sample")


def report_cases() -> list[dict[str, Any]]:
    """All cases of report.json."""
    uneven = _measured("android")
    del uneven["entries"][0]["frames"][3]["unwarp"]
    negative = _measured("android")
    negative["entries"][0]["frames"][2][TOTAL] = -1.0
    late = _measured("android")
    late["entries"][0]["at_s"].pop()
    twice = _measured("android")
    twice["entries"].append(twice["entries"][0])
    bad = {
        "a frame without a stage": (uneven, "incomplete"),
        "a time below zero": (negative, "no times"),
        "a frame that never began": (late, "incomplete"),
        "two entries of one name": (twice, "share a name"),
    }
    return [
        *(case("report", report, f"report of {system}", **_measured(system)) for system in THERMAL),
        *(
            {"name": f"report with {name}", "function": "report", "input": given, "expected": refusal(words)}
            for name, (given, words) in bad.items()
        ),
    ]


def _measured(system: str) -> dict[str, Any]:
    """What an app knows after a benchmark: frames with milliseconds by stage, and where it ran."""
    before, after = THERMAL[system]
    android = system == "android"
    name = "Pixel 8, Tensor G3, Android 15" if android else "iPhone X, A11, iOS 16.7"
    lane = {
        "name": name,
        "details": {"app": "1.0", "thermal": {"before": before, "after": after}, "battery": 0.75},
    }
    precision, suffix = ("int8", "tflite") if android else ("fp16", "mlpackage")
    file = {
        "path": f"mobile-hourglass-{precision}.{suffix}",
        "sha256": "5f" * 32,
        "bytes": 420_000,
        "format": suffix,
        "precision": precision,
        "model": "mobile-hourglass",
        "parity": {"sqnr_db": 31.5, "max_abs": 0.75, "agreement": 0.9875, "samples": 8,
                   "reference": "torch", "inputs": "synthetic"},
    }  # fmt: skip
    frames = []
    for number in range(12):
        times = [9.0 if number == 0 else 0.5, 1.25, 6.0 + 0.125 * (number % 4), 0.75, 1.5]
        stages = dict(zip(STAGES, times, strict=True))
        frames.append({**stages, TOTAL: sum(times) + 0.25})
    entry = {
        "name": file["path"],
        "runtime": "LiteRT 1.4.0 XNNPACK" if android else "Core ML iOS 16.7 all units",
        "threads": 4 if android else None,
        "file": file,
        "load_ms": 81.5,
        "first_ms": 34.25,
        "warmup_runs": 10,
        "steady": True,
        "repeats": 1,
        "frames": frames,
        "at_s": [0.03125 * number for number in range(12)],
        "memory_mb": {"before": 92.0, "loaded": 101.5, "peak": 118.25},
        "shares": {"detected": 0.0833333333, "tracked": 0.916666667, "with_face": 1.0},
        "partial": None,
    }
    return {
        "created": "2025-06-01T12:00:00+00:00",
        "command": ["FaceParsingDemo", "benchmark"],
        "lane": lane,
        "machine": {"system": name.split(", ")[-1], "cores": 8 if android else 6},
        "settings": {"runs": 12, "source": "bundled clip", "size": [640, 480], "effect": "mask", "faces": 1},
        "entries": [entry],
    }


def report(
    created: str,
    command: list[str],
    lane: dict[str, Any],
    machine: dict[str, Any],
    settings: dict[str, Any],
    entries: list[dict[str, Any]],
) -> dict[str, Any]:
    """The results file of a measurement on a device."""
    made = Results(
        kind=PIPELINE,
        created=created,
        command=command,
        lane=Lane(DEVICE, lane["name"], lane["details"]),
        machine=machine,
        settings=settings,
        entries=[_entry(**entry) for entry in entries],
    )
    return {"report": made.as_json()}


def _entry(frames: list[dict[str, float]], file: dict[str, Any], **rest: Any) -> Entry:
    samples = {stage: [frame[stage] for frame in frames if stage in frame] for stage in (*STAGES, TOTAL)}
    return Entry(samples=samples, file=MeasuredFile(**file), **rest)
