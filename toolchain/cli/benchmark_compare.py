"""`toolchain benchmark compare`: two results files, and a gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.output import say, show_json, show_table
from toolchain.errors import RegressionError

if TYPE_CHECKING:
    from toolchain.benchmarks.harness.compare import Change

COLUMNS = ("name", "figure", "before", "after", "change", "95 % interval", "verdict", "limit", "gate")


def benchmark_compare(
    before: Annotated[Path, typer.Argument(help="Results file: the reference.", metavar="A.json")],
    after: Annotated[Path, typer.Argument(help="Results file that is judged.", metavar="B.json")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 5 when a figure of any entry has grown by more: p50:+10%, inference.p90:+2ms,"
            " size:+0%; repeatable.",
            metavar="[STAGE.]FIGURE:+N%",
        ),
    ] = None,
    different_machines: Annotated[
        bool,
        typer.Option(
            "--different-machines", help="Compare although computers, lanes, threads or settings differ."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    from toolchain.benchmarks.harness.compare import compare, parse_limit, unmatched
    from toolchain.benchmarks.harness.results import load_results

    limits = [parse_limit(text) for text in fail_if or ()]
    old, new = load_results(before), load_results(after)
    changes = compare(old, new, limits, different_machines)
    alone = unmatched(old, new)
    if as_json:
        show_json({"changes": [change.as_json() for change in changes], "unmatched": alone})
    else:
        show_table("", COLUMNS, [_row(change) for change in changes])
        say("the interval covers the noise within the two measurements, not that between processes or days")
        if alone:
            say(f"in one of the files only: {', '.join(alone)}")
    failed = [change for change in changes if change.failed]
    if failed:
        raise RegressionError(
            f"{len(failed)} figure(s) beyond the limit: {'; '.join(_failure(change) for change in failed)}",
            "measure both again to see whether it stays, or change --fail-if",
        )


def _row(change: Change) -> tuple[str, ...]:
    interval = (
        "-" if change.low is None or change.high is None else f"{change.low:+.1%} to {change.high:+.1%}"
    )
    gate = "" if change.limit is None else "failed" if change.failed else "passed"
    return (
        change.name,
        _figure(change),
        f"{change.before:.6g} {change.unit}",
        f"{change.after:.6g} {change.unit}",
        f"{change.change:+.1%}",
        interval,
        change.verdict or "-",
        change.limit or "-",
        gate,
    )


def _figure(change: Change) -> str:
    return f"{change.stage}.{change.figure}" if change.stage else change.figure


def _failure(change: Change) -> str:
    noise = ", within the noise" if change.verdict == "within the noise" else ""
    return f"'{change.name}' {_figure(change)} {change.change:+.1%} ({change.limit}{noise})"
