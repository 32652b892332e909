"""`toolchain demo`: the parse and its effects, live."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli.output import (
    foreign_prints_aside,
    note,
    on_terminal,
    say,
    show_json,
    show_stage,
    show_table,
)
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.demo.look import Look


def demo(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Option(
            help="Camera or its number, clip, photograph, folder of photographs, or 'synthetic'.",
            metavar="camera|0|clip.mp4|photo.jpg|FOLDER|synthetic",
        ),
    ] = "camera",
    artifact: Annotated[
        Path | None,
        typer.Option(
            help="Face parser's file with its sidecar, for any runtime; default: the shipped network, "
            "exported on first use."
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two files side by side on the same frames.", metavar="A B"),
    ] = None,
    effect: Annotated[
        str, typer.Option(help="What is drawn: mask, lipstick, brows, skin, blur or none.")
    ] = "mask",
    color: Annotated[
        str | None, typer.Option(help="Of the effect: #rrggbb, or a name.", metavar="COLOR")
    ] = None,
    split: Annotated[
        bool, typer.Option("--split", help="Begin with fp32 and int8 along a line (key: p).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write every frame there: clip, picture or folder, as the source."
        ),
    ] = None,
    no_window: Annotated[bool, typer.Option("--no-window", help="Show nothing.")] = False,
    every_frame: Annotated[
        bool,
        typer.Option(
            "--every-frame", help="Drop no frame of a clip for a newer one, and do not keep its pace."
        ),
    ] = False,
    max_frames: Annotated[int | None, typer.Option(min=1, help="End after so many frames.")] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Left and right as in a mirror.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one operator; default: up to 4, as there are cores.")
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(help="YuNet .onnx or short-range BlazeFace .tflite; default: OpenCV's cascade."),
    ] = None,
    faces: Annotated[int, typer.Option(min=1, help="Follow so many faces at most.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object at the end.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Serve a page for a browser instead.")] = False,
    host: Annotated[
        str, typer.Option(help="With --web: address to listen on; 0.0.0.0 for the local network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --web; 0 for any free port.")] = 8000,
    https: Annotated[
        bool, typer.Option("--https", help="With --web: a self-signed certificate, for phones.")
    ] = False,
) -> None:
    _check_together(context, web)
    if artifact is not None and compare is not None:
        raise UsageError("--artifact and --compare are both given", "--compare names both files")
    if web:
        from toolchain.demo.web_demo import serve_demo

        files = _files(artifact, compare, quiet=as_json)
        serve_demo(files, host=host, port=port, https=https, report=say)
        return
    if split and compare is not None:
        raise UsageError("--split and --compare are both given", "leave one of them out")
    look = _look(effect, color, split, mirror)

    from toolchain.demo.app import DemoOptions, run_demo
    from toolchain.demo.window import check_display
    from toolchain.face.source import open_source

    opened = open_source(source)
    if not no_window:
        check_display()
    files = _files(artifact, compare, quiet=as_json)
    with foreign_prints_aside():
        made = run_demo(
            DemoOptions(
                source=opened,
                artifacts=files,
                look=look,
                output=output,
                window=not no_window,
                every_frame=every_frame,
                max_frames=max_frames,
                threads=threads if threads is not None else _default_threads(),
                detector=detector,
                faces=faces,
                second=None if compare is not None else partial(_second, files[0], artifact is None),
            )
        )
    if as_json:
        show_json(made)
    else:
        _show(made)
    if made["second_error"] is not None:
        failed = f"the second precision could not be shown: {made['second_error']}"
        if split:
            raise UsageError(failed, "`toolchain export NAME -p fp32 -p int8` writes both")
        note(f"note: {failed}")


# Parameters that mean something with --web, and those that mean nothing without it.
WITH_WEB = {"artifact", "compare", "web", "host", "port", "https"}
ONLY_WEB = {"host", "port", "https"}


def _check_together(context: typer.Context, web: bool) -> None:
    """Raises UsageError for an option that would be left unused."""
    for name in context.params:
        origin = context.get_parameter_source(name)
        if origin is None or origin.name != "COMMANDLINE":
            continue
        flag = f"--{'json' if name == 'as_json' else name.replace('_', '-')}"
        if web and name not in WITH_WEB:
            raise UsageError(f"{flag} is not for --web", "leave it out: the page has its own controls")
        if not web and name in ONLY_WEB:
            raise UsageError(f"{flag} is for --web only", "leave it out, or add --web")


def _look(effect: str, color: str | None, split: bool, mirror: bool) -> Look:
    from toolchain.demo.look import Look, check_effect, parse_color

    return Look(
        check_effect(effect), None if color is None else parse_color(color), split=split, mirror=mirror
    )


def _files(artifact: Path | None, compare: tuple[Path, Path] | None, quiet: bool) -> tuple[Path, ...]:
    if compare is not None:
        return compare
    if artifact is not None:
        return (artifact,)
    from toolchain.demo.shipped import shipped_artifact

    with foreign_prints_aside(), show_stage(on_terminal() and not quiet) as stage:
        return (shipped_artifact(progress=stage),)


def _second(first: Path, shipped: bool) -> Path:
    """The network of a file at the other precision: beside it, or exported where the shipped one is meant."""
    from toolchain.demo.app import other_precision
    from toolchain.demo.shipped import shipped_artifact
    from toolchain.spec import load_sidecar

    return shipped_artifact("int8") if shipped else other_precision(first, load_sidecar(first).precision)


def _default_threads() -> int:
    from toolchain.demo.lanes import default_threads

    return default_threads()


def _show(made: dict[str, Any]) -> None:
    frames, glass = made["frames"], made["glass_to_glass"]
    rate = "" if made["fps"] is None else f", {made['fps']:.1f} frames/s"
    say(f"{frames['shown']} frames of {made['source']}{rate}; {frames['dropped']} dropped for newer ones")
    for network in made["artifacts"]:
        say(f"{network['path']}: {network['precision']}, {network['runtime']}")
    rows = [(stage, f"{found['p50']:.2f}", f"{found['p90']:.2f}") for stage, found in made["stages"].items()]
    if glass is not None:
        rows.append(("glass to glass", f"{glass['p50']:.2f}", f"{glass['p90']:.2f}"))
    if rows:
        show_table("", ("ms", "p50", "p90"), rows)
    if made["faces"]:
        say(f"{made['with_face']:.1%} of the frames have a face, {made['faces']} at most")
    else:
        say("no face was found, nothing was painted")
    if made["steadiness"] is not None:
        say(f"{made['steadiness']:.2%} of the face pixels keep their label along the motion")
    if made["agreement"] is not None:
        found = made["agreement"]
        face = "" if found["face_pixels"] is None else f", {found['face_pixels']:.2%} of the face pixels"
        say(f"both files agree on {found['pixels']:.2%} of the pixels{face}")
    for path in (made["output"], *made["pictures"]):
        if path is not None:
            say(f"wrote {path}")
