"""`toolchain predict`: run a model file on a photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.output import say, show_json, show_table


def predict(
    artifact: Annotated[Path, typer.Argument(help="Model file with its sidecar beside it.")],
    image: Annotated[Path, typer.Argument(help="Photograph: .jpg, .png, ...")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Overlay picture; default IMAGE-overlay.png here.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Take the whole picture, look for no face.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of one operator.")] = None,
    alpha: Annotated[float, typer.Option(min=0.0, max=1.0, help="Opacity of the colours.")] = 0.55,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    from toolchain.predict import predict as predict_file

    made = predict_file(artifact, image, output, whole, threads, alpha)
    if as_json:
        show_json(made.as_json())
        return
    if made.top:
        show_table("", ("class", "probability"), [(label, f"{value:.1%}") for label, value in made.top])
    else:
        for box in made.faces[:1]:
            others = f", the largest of {len(made.faces)}" if len(made.faces) > 1 else ""
            say(f"face at {box.x:.0f}, {box.y:.0f}, {box.width:.0f} x {box.height:.0f} pixels{others}")
        show_table("", ("class", "pixels"), [(label, f"{value:.2%}") for label, value in made.share.items()])
    say(", ".join(f"{stage} {value:.1f} ms" for stage, value in made.milliseconds.items()))
    if made.output is not None:
        say(f"wrote {made.output}")
