"""`toolchain benchmark android`: latency of a .tflite file on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.output import note, on_terminal, say, show_json, show_stage


def benchmark_android(
    file: Annotated[Path, typer.Argument(help=".tflite file.", metavar="FILE.tflite")],
    benchmark_binary: Annotated[
        Path,
        typer.Option(help="TensorFlow Lite's benchmark_model for the phone's processor.", metavar="PATH"),
    ],
    serial: Annotated[str | None, typer.Option(help="Device; default: the only one.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of one operator.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Samples; each is a start of benchmark_model.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of which a sample is the mean.")] = 20,
    warmup_runs: Annotated[int, typer.Option(min=1, help="Runs before them in every start.")] = 5,
    profile: Annotated[bool, typer.Option("--profile", help="Time the operators as well.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Longest time of one start in seconds.")] = 300.0,
    adb: Annotated[str | None, typer.Option(help="adb; default: on the PATH, or in the Android SDK.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write all samples there.", metavar="FILE.json")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    from toolchain.cli.benchmark import check_output, command_line, document, save

    check_output(output)

    from toolchain.benchmarks.devices.android import AndroidOptions, measure_on_android

    options = AndroidOptions(threads, runs, repeats, warmup_runs, profile, timeout, serial, adb)
    with show_stage(on_terminal()) as stage:
        results = measure_on_android(file, benchmark_binary, options, command_line(), stage)
    save(results, output)
    details = results.lane.details
    if details["left_on_device"] is not None:
        note(f"still on the device: {details['left_on_device']}")
    if details["no_memory_or_operators"] is not None:
        note(f"memory and operators could not be measured: {details['no_memory_or_operators']}")
    if as_json:
        show_json(document(results))
        return
    from toolchain.cli.benchmark_table import show_results

    show_results(results)
    if results.lane.emulated:
        say("note: an emulator's times say nothing about any phone")
    if output is not None:
        say(f"wrote {output}")
