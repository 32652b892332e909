"""`toolchain benchmark pipeline`: the stages of a frame from detection to colorization."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.output import foreign_prints_aside, on_terminal, say, show_json, show_stage, show_table
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.benchmarks.harness.results import Entry, Results

SIZE = re.compile(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})")


def benchmark_pipeline(
    artifacts: Annotated[
        list[Path],
        typer.Argument(help="Face parsers' files with their sidecars; each frame goes through all in turn."),
    ],
    source: Annotated[
        str,
        typer.Option(
            help="Frames: a clip, a folder of pictures, a camera or its number, or 'synthetic'.",
            metavar="clip.mp4|FOLDER|camera|synthetic",
        ),
    ],
    size: Annotated[
        str | None, typer.Option(help="Fit frames into this size; default: as they are.", metavar="640x480")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of one operator, and of OpenCV.")] = 1,
    detector: Annotated[
        Path | None,
        typer.Option(help="YuNet .onnx or short-range BlazeFace .tflite; default: OpenCV's cascade."),
    ] = None,
    effect: Annotated[str, typer.Option(help="What is drawn: mask, lipstick, brows, skin or blur.")] = "mask",
    faces: Annotated[int, typer.Option(min=1, help="Follow so many faces at most.")] = 1,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames taken from the source; then they begin anew.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Frames measured, at least.")] = 200,
    seconds: Annotated[float, typer.Option(min=0, help="Length of the measurement, at least.")] = 3.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds of warm-up of each, at most.")] = 5.0,
    max_seconds: Annotated[float, typer.Option(min=0, help="Length of the measurement, at most.")] = 120.0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write all samples there.", metavar="FILE.json")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    from toolchain.cli.benchmark import check_output, command_line, document, save

    check_output(output)
    wanted = _size(size)

    from toolchain.benchmarks.harness.measure import Options
    from toolchain.benchmarks.pipeline import measure_pipelines, pipeline_figures, take_frames
    from toolchain.face.source import open_source

    options = Options(runs, seconds, warmup, max_seconds, threads)
    with foreign_prints_aside(), show_stage(on_terminal()) as stage:
        stage(f"reading {source}")
        taken = take_frames(open_source(source), wanted, frames)
        results = measure_pipelines(artifacts, taken, options, command_line(), detector, effect, faces, stage)
    save(results, output)
    if as_json:
        figures = {entry.name: pipeline_figures(entry) for entry in results.entries}
        first = figures[results.entries[0].name]
        show_json({**first, "pipelines": figures, **document(results)})
        return
    _show(results)
    if output is not None:
        say(f"wrote {output}")


def _size(text: str | None) -> tuple[int, int] | None:
    """Width and height of "640x480"."""
    if text is None:
        return None
    found = SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"'{text}' is no size", "--size 640x480 is 640 pixels wide and 480 high")
    return int(found[1]), int(found[2])


def _show(results: Results) -> None:
    settings = results.settings
    width, height = settings["size"]
    say(f"{settings['frames']} frames of {settings['source']}, {width} x {height}, decoded before")
    for entry in results.entries:
        _show_entry(entry)


def _show_entry(entry: Entry) -> None:
    from toolchain.benchmarks.harness.figures import notes, stage_figures
    from toolchain.benchmarks.pipeline import pipeline_figures

    found = pipeline_figures(entry)
    threads = f", {entry.threads} thread(s)" if entry.threads else ""
    # Detection is costly in few frames: its median says nothing of them, the mean has their share.
    columns = ("mean", "p50", "p90", "p99")
    rows = [
        (stage, *(f"{getattr(values, name):.2f}" for name in columns))
        for stage, values in stage_figures(entry).items()
    ]
    # The title of a table is no wider than its columns.
    say(f"{entry.name}: {entry.runtime}{threads}")
    show_table("", ("ms a frame", *columns), rows)
    shares = entry.shares
    say(
        f"{found['fps']:.1f} frames/s; the detector ran on {shares['detected']:.1%} of the frames, "
        f"a face was followed on {shares['tracked']:.1%}"
    )
    for note in notes(entry):
        say(f"note: {note}")
