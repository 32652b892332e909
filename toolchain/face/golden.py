"""Golden vectors: what the engine answers to small inputs, as files that the apps' tests are made of.

python -P -m toolchain.face.golden            write the files of both apps
python -P -m toolchain.face.golden --check    fail when they are not those of this engine
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolchain.benchmarks.report import run_benchmark
from toolchain.errors import RegressionError, UsageError
from toolchain.face.golden_cases import alike
from toolchain.face.golden_engine import engine_cases
from toolchain.face.golden_motion import previous_mask_cases
from toolchain.face.golden_output import output_cases, unwarp_cases
from toolchain.face.golden_paint import lipstick_cases, overlay_cases
from toolchain.face.golden_region import region_cases
from toolchain.face.golden_report import report_cases, statistics_cases
from toolchain.face.golden_sidecar import sidecar_cases
from toolchain.face.golden_tracking import held_box_cases, mask_reader_cases

TOPICS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "sidecar": sidecar_cases,
    "region": region_cases,
    "mask_reader": mask_reader_cases,
    "held_box": held_box_cases,
    "engine": engine_cases,
    "previous_mask": previous_mask_cases,
    "output": output_cases,
    "unwarp": unwarp_cases,
    "overlay": overlay_cases,
    "lipstick": lipstick_cases,
    "statistics": statistics_cases,
    "report": report_cases,
}
# Of a checkout, which the command is run in.
APPS = (Path("android_demo"), Path("ios_demo"))
FOLDERS = (
    Path("android_demo/core/src/test/resources/golden"),
    Path("ios_demo/FaceParsing/Tests/FaceParsingTests/Golden"),
)


def text_of(cases: list[dict[str, Any]]) -> str:
    """The content of a file: a JSON list with one case a line."""
    lines = (json.dumps(case, ensure_ascii=False, allow_nan=False) for case in cases)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def write(folder: Path) -> None:
    """Write one file per topic.

    Raises:
        UsageError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for topic, cases in TOPICS.items():
            partial = folder / f".{topic}.{os.getpid()}"
            partial.write_text(text_of(cases()), encoding="utf-8")
            partial.replace(folder / f"{topic}.json")
    except OSError as error:
        raise UsageError(
            f"'{folder}' cannot be written to: {error.strerror}", "give another folder with --output"
        ) from error


def differences(folder: Path) -> list[str]:
    """Which files of a folder are not those of this engine, and from which case on; empty when all are."""
    found = [
        line for topic, cases in TOPICS.items() if (line := _difference(folder / f"{topic}.json", cases()))
    ]
    known = {f"{topic}.json" for topic in TOPICS}
    others = sorted(path.name for path in folder.glob("*.json") if path.name not in known)
    return found + [f"'{folder / name}' is of no topic" for name in others]


def _difference(path: Path, cases: list[dict[str, Any]]) -> str:
    try:
        committed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return f"'{path}' cannot be read: {error.strerror}"
    except ValueError as error:
        return f"'{path}' is no JSON: {error}"
    if not isinstance(committed, list) or len(committed) != len(cases):
        return f"'{path}' has other cases"
    for old, new in zip(committed, json.loads(text_of(cases)), strict=True):
        if not alike(old, new):
            return f"'{path}' differs from case '{new['name']}' on"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_benchmark(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.face.golden", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--output", type=Path, action="append", help="folder; default: those of both apps")
    options = parser.parse_args(arguments)
    if not options.output and not all(app.is_dir() for app in APPS):
        raise UsageError(
            f"there is no {' or '.join(str(app) for app in APPS)} here",
            "run it in a checkout, or give --output",
        )
    folders = options.output or list(FOLDERS)
    if not options.check:
        for folder in folders:
            write(folder)
        return "\n".join(f"wrote {len(TOPICS)} files to {folder}" for folder in folders)
    found = [line for folder in folders for line in differences(folder)]
    if found:
        raise RegressionError("; ".join(found), "run `python -P -m toolchain.face.golden`")
    return "\n".join(f"{folder} is up to date" for folder in folders)


if __name__ == "__main__":
    sys.exit(main())
