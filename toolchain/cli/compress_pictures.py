"""`toolchain compress pictures`: draw the evolution of the kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.output import say, show_json


def compress_pictures(
    history: Annotated[
        Path, typer.Argument(help="Folder `history` that `toolchain compress train` wrote, at any time.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default `pictures` beside the history.")
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option(help="Logged figure by which epochs are judged; default val_error, overall_f1, ..."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths as JSON, nothing else.")] = False,
) -> None:
    """Each picture is written as .png and .svg."""
    from toolchain.compress.sparsity.pictures import draw_history

    folder = output or history.parent / "pictures"
    written = draw_history(history, folder, figure)
    if as_json:
        show_json([str(path) for path in written])
        return
    for path in written[::2]:
        say(f"wrote {path} and {path.with_suffix('.svg').name}")
