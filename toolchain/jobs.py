"""What an export is asked for, and which files that means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.errors import UsageError
from toolchain.quantize import ACTIVATIONS, METHOD
from toolchain.targets import TARGETS, Target, WriteOptions

Job = tuple[Target, WriteOptions]

DEFAULT_FORMATS = ("tflite", "coreml")
APPLE_FORMATS = ("coreml", "mlmodel")
LAYOUTS = ("nhwc", "nchw")
BORDERS = ("float", "int8", "uint8")
SAMPLES = 8


@dataclass
class ExportOptions:
    """How to export.

    Attributes:
        formats: names of `toolchain.targets.TARGETS`.
        precisions: "fp32", "fp16", ...; None for each target's default.
        output: folder of the files.
        calibration: real inputs to calibrate with and to compare on; None for the ranges on the network's
            card, and synthetic inputs.
        layout: "nhwc" or "nchw", order of pictures at a .tflite file's borders.
        ios: oldest iOS that must run the Core ML files; None for the oldest that can.
        method: how ranges are read off calibration data: "minmax", "percentile", "entropy" or "mse".
        refine: fit the weights of integer files to the calibration data, layer by layer.
        max_drop: points of the task's metric (where the data has labels, else of label agreement) that an
            integer file may lose; None for no such gate.
        io: "float", "int8" or "uint8", type of inputs and outputs of an int8 .tflite file.
        allow_float: names of nodes or operators of an int8 file that may stay float; "auto" accepts all, and
            measures which others are faster as floats.
        count: how many samples to compare at most.
        command: the command line, for the sidecar.
        progress: called with the name of each stage as it starts.
        note: called with what the user should know before the work begins.
    """

    formats: Sequence[str] = DEFAULT_FORMATS
    precisions: Sequence[str] | None = None
    output: Path = Path("build")
    calibration: str | Path | None = None
    layout: str = "nhwc"
    ios: int | None = None
    method: str = METHOD
    refine: bool = False
    max_drop: float | None = None
    io: str = "float"
    allow_float: Sequence[str] = ()
    count: int = SAMPLES
    command: str = ""
    progress: Callable[[str], None] = field(default=lambda _stage: None)
    note: Callable[[str], None] = field(default=lambda _note: None)


def jobs_of(options: ExportOptions) -> list[Job]:
    """Every file asked for; what can be known to be impossible before any work is an error."""
    targets = [TARGETS.get(name) for name in dict.fromkeys(options.formats)]
    _check_flags(options, targets)
    jobs: list[Job] = []
    for target in targets:
        for precision in dict.fromkeys(options.precisions or (target.default,)):
            if precision not in target.precisions:
                able = [name for name in TARGETS if precision in TARGETS.get(name).precisions]
                others = (
                    f"; '{precision}' exists for {' and '.join('-f ' + name for name in able)}"
                    if able
                    else ""
                )
                raise UsageError(
                    f"format '{target.name}' cannot have precision '{precision}'",
                    f"use {', '.join(target.precisions)}{others}",
                )
            job = WriteOptions(precision, options.layout, options.ios, options.io, tuple(options.allow_float))
            for note in target.check(job):
                options.note(note)
            jobs.append((target, job))
    _check_integer_flags(options, jobs)
    return jobs


def _check_flags(options: ExportOptions, targets: list[Target]) -> None:
    """Raises UsageError for a layout that does not exist, and for an iOS version where nothing is for iOS."""
    if options.layout not in LAYOUTS:
        raise UsageError(f"unknown layout '{options.layout}'", f"use {' or '.join(LAYOUTS)}")
    if options.ios is not None and not any(target.name in APPLE_FORMATS for target in targets):
        raise UsageError(
            "--ios is for Core ML files, and none is asked for",
            f"leave --ios out, or add {' or '.join('-f ' + name for name in APPLE_FORMATS)}",
        )


def _check_integer_flags(options: ExportOptions, jobs: Sequence[Job]) -> None:
    """Raises UsageError for a flag of integer files where none is asked for that can follow it."""
    from toolchain.converters.quantize.calibrate import METHODS

    if options.method not in METHODS:
        raise UsageError(f"calibration method '{options.method}' is unknown", f"one of {', '.join(METHODS)}")
    if options.io not in BORDERS:
        raise UsageError(f"inputs and outputs cannot be '{options.io}'", f"use {', '.join(BORDERS)}")
    integer = {(target.name, job.precision) for target, job in jobs if job.precision in ACTIVATIONS}
    asked = {
        "--refine": (options.refine, bool(integer), "integer files", "-p int8"),
        "--max-drop": (options.max_drop is not None, bool(integer), "integer files", "-p int8"),
        "--allow-float": (bool(options.allow_float), bool(integer), "integer files", "-p int8"),
        f"--io {options.io}": (
            options.io != "float",
            ("tflite", "int8") in integer,
            "int8 .tflite files",
            "-f tflite -p int8",
        ),
    }
    for flag, (is_given, is_followed, what, way_out) in asked.items():
        if is_given and not is_followed:
            raise UsageError(
                f"{flag} is for {what}, and none is asked for",
                f"leave {flag.split()[0]} out, or add {way_out}",
            )
