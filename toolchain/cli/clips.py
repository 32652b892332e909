"""`toolchain evaluate --clips`: how steady face parsers are on video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from toolchain.cli.output import foreign_prints_aside, on_terminal, say, show_json, show_stage, show_table
from toolchain.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from toolchain.evaluate.video import ClipEvaluation

# Parameters of `evaluate` that mean something here.
USED = {"artifacts", "clips", "limit", "output", "weights", "like", "threads", "whole", "as_json"}


def evaluate_on_clips(context: typer.Context) -> None:
    """Run `evaluate` with the parameters of a call that has `--clips`.

    Raises:
        UsageError: an option was given that would be left unused.
        MissingDependencyError: a package is missing.
    """
    given = context.params
    for name in given:
        source = context.get_parameter_source(name)
        if name not in USED and source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--{name} is not for --clips", "leave it out")
    try:
        from toolchain.evaluate.video import evaluate_clips
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"evaluation needs the package '{error.name}'", 'pip install "mobile-toolchain[train]"'
        ) from error

    with foreign_prints_aside(), show_stage(on_terminal() and not given["as_json"]) as stage:
        made = evaluate_clips(
            given["artifacts"],
            given["clips"],
            limit=given["limit"],
            whole=given["whole"],
            weights=given["weights"],
            like=given["like"],
            threads=given["threads"],
            strips=given["output"],
            progress=stage,
        )
    if given["as_json"]:
        show_json(made.as_json())
        return
    _show(made)
    if given["output"] is not None:
        say(f"wrote pictures into {given['output']}")


def _show(made: ClipEvaluation) -> None:
    from toolchain.evaluate.video_tables import clip_table, remarks

    for judgement in made.judgements:
        table = clip_table(made, judgement)
        show_table(table.title, table.columns, table.rows)
        say("")
    for remark in remarks(made):
        say(remark)
