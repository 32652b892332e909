"""`toolchain evaluate`: how well face parsers do on annotated pictures."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from toolchain.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from toolchain.evaluate import Evaluation


class Previous(StrEnum):
    """Previous mask of networks that take one."""

    none = "none"
    own = "own"
    truth = "truth"
    faked = "faked"


def evaluate(
    context: typer.Context,
    artifacts: Annotated[
        list[str],
        typer.Argument(help="Model files, zoo names or file.py:factory.", metavar="ARTIFACT..."),
    ],
    data: Annotated[
        str | None, typer.Option(help="Annotated pictures: SCHEME:PATH, such as celebamask:PATH.")
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            help="Instead: clips with a face, for steadiness and recovery after cuts.",
            metavar="FOLDER|FILE.mp4",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Part of the data.")] = "val",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Pictures, evenly spread; frames of each clip.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Write a page there; with --clips, pictures of frames into a folder.",
            metavar="PATH.html|FOLDER",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="One more face parser, which the others are compared with.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="State dict of the network in torch.")] = None,
    like: Annotated[
        str | None, typer.Option(help="Network whose contract files without a sidecar have.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, help="Compare labels at this side; default: each one's input size.")
    ] = None,
    previous: Annotated[
        Previous,
        typer.Option(help="Previous mask of networks that take one: empty, the own answer, from the labels."),
    ] = (Previous.none),
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst pictures to show.")] = 12,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one operator, for model files.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="With --clips: whole frames, without looking for a face.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    if clips is not None:
        from toolchain.cli.clips import evaluate_on_clips

        evaluate_on_clips(context)
        return
    if data is None or whole:
        raise UsageError(
            "--whole is for --clips" if whole else "there is nothing to judge on",
            "give annotated pictures with --data celebamask:PATH, or a folder of clips with --clips",
        )
    try:
        from toolchain.evaluate import evaluate as evaluate_all
        from toolchain.evaluate.page import check_page, write_page
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"evaluation needs the package '{error.name}'", 'pip install "mobile-toolchain[train]"'
        ) from error

    if output is not None:
        check_page(output)
    with foreign_prints_aside(), show_stage(on_terminal() and not as_json) as stage:
        made = evaluate_all(
            artifacts,
            data,
            split=split,
            limit=limit,
            baseline=baseline,
            weights=weights,
            like=like,
            size=size,
            previous=previous.value,
            threads=threads,
            worst=worst,
            progress=lambda done, total: stage(f"{done} of {total} pictures"),
        )
    if output is not None:
        write_page(output, made, " ".join(["toolchain", *sys.argv[1:]]))
    if as_json:
        show_json(made.as_json())
        return
    _show(made)
    if output is not None:
        say(f"wrote {output}")


def _show(made: Evaluation) -> None:
    from toolchain.evaluate.tables import (
        class_tables,
        figures_table,
        remarks,
        worst_table,
    )

    tables = (figures_table(made), *class_tables(made), worst_table(made))
    for table in tables:
        if table.rows:
            show_table(table.title, table.columns, table.rows)
            say("")
    for remark in remarks(made):
        say(remark)
    if made.terms:
        note(f"terms of the data: {made.terms}")
