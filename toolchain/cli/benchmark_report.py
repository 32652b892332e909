"""`toolchain benchmark report`: results files as a page, Markdown or a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.output import foreign_prints_aside, say
from toolchain.errors import UsageError

HTML, MARKDOWN, TRACE = (".html", ".htm"), (".md",), (".json",)


def benchmark_report(
    results: Annotated[
        list[Path], typer.Argument(help="Files that `toolchain benchmark` wrote.", metavar="RESULTS.json...")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="A page, Markdown, or a Chrome trace for Perfetto, by suffix.",
            metavar="PATH.html|.md|.json",
        ),
    ],
    accuracy: Annotated[
        list[Path] | None,
        typer.Option(
            help="Overall F1 of measured files: what `toolchain evaluate --json` printed; repeatable.",
            metavar="FILE.json",
        ),
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(
            help="Show parity pictures of these measured files, or of those in a folder; repeatable.",
            metavar="ARTIFACT|FOLDER",
        ),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(help="Inputs of the parity pictures: folder of pictures, .npy, .npz, celebamask:PATH."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Parity pictures of each file.")] = 2,
    network: Annotated[
        str | None, typer.Option(help="Network of the parity pictures; default: the one that sidecars name.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="State dict of that network.")] = None,
) -> None:
    from toolchain.benchmarks.reports.judged import with_judgements
    from toolchain.benchmarks.reports.measured import read_all
    from toolchain.benchmarks.reports.offline_page import check_output, write_text

    check_output(output, (*HTML, *MARKDOWN, *TRACE))
    if any(output.resolve() == path.resolve() for path in results):
        raise UsageError(f"'{output}' is one of the results files", "give another name with -o")
    suffix = output.suffix.lower()
    if not pictures and (inputs is not None or network is not None or weights is not None):
        raise UsageError("--inputs, --network and --weights are for parity pictures", "add --pictures FOLDER")
    if pictures and suffix not in HTML:
        raise UsageError(f"'{output}' cannot hold pictures", "give a name that ends in .html")
    if accuracy and suffix in TRACE:
        raise UsageError(
            "a trace holds no accuracy", "give a name that ends in .html or .md, or leave --accuracy out"
        )
    measured = with_judgements(read_all(results), accuracy or [])
    if suffix in TRACE:
        from toolchain.benchmarks.reports.trace import trace_text

        text = trace_text(measured)
    elif suffix in MARKDOWN:
        from toolchain.benchmarks.reports.markdown import markdown

        text = markdown(measured)
    else:
        from toolchain.benchmarks.reports.page import page

        sheet = None
        if pictures:
            from toolchain.parity_pictures import parity_sheet

            with foreign_prints_aside():
                sheet = parity_sheet(measured, pictures, inputs, samples, network, weights)
        text = page(measured, sheet)
    write_text(output, text)
    say(f"wrote {output}")
