"""`toolchain compress experiment`: every row and seed of a recipe, and the table of all kept networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.output import note, say, show_json
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.compress.experiment.files import ExportedFile, Shapes

MOST_THREADS = 1024


def compress_experiment(
    name: Annotated[
        str,
        typer.Argument(
            help="lenet-mnist, lenet-cifar10, vgg11-cifar10, alexnet-cats-dogs, face-parsing,"
            " face-parsing-lips, or the path of a .toml file.",
            metavar="NAME",
        ),
    ],
    data: Annotated[
        str, typer.Option(help="mnist:FOLDER, images:ZIP_OR_FOLDER or celebamask:PATH, as the recipe says.")
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "-o", "--folder", help="Results; what is finished there is kept, the rest is gone on with."
        ),
    ],
    seeds: Annotated[str, typer.Option(help="Each row is trained once with each of them.")] = "0,1,2",
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a row; repeatable. The others are left as they are.")
    ] = None,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Tabulate what is finished, and train nothing.")
    ] = False,
    no_files: Annotated[
        bool, typer.Option("--no-files", help="Make no model files, and measure no latency.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="Threads of the training.")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write all figures there as well.", metavar="FILE.json")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table there as well.", metavar="FILE.md")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, nothing else.")] = False,
) -> None:
    from toolchain.compress.experiment.recipe import read_experiment

    # A typing error is answered before torch is imported.
    experiment, chosen = read_experiment(name), parse_seeds(seeds)
    for row in only or []:
        experiment.row(row)

    import torch

    from toolchain.benchmarks.report import save_json
    from toolchain.compress.experiment.run import ExperimentOptions, open_task, run_experiment
    from toolchain.compress.experiment.table import table

    torch.set_num_threads(threads)
    options = ExperimentOptions(
        folder=folder,
        seeds=chosen,
        only=only or (),
        may_train=not no_train,
        export=None if no_files else export_kept,
        report=note,
    )
    report = run_experiment(experiment, open_task(experiment, data), options)
    text = table(report)
    if output is not None:
        save_json(report, output)
    if markdown is not None:
        _save_text(text, markdown)
    if as_json:
        show_json(report)
        return
    say(text.rstrip("\n"))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Numbers of "0,1,2".

    Raises:
        UsageError: it is something else, or a seed is named twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < 2**32 for part in parts) or len(set(parts)) < len(parts):
        raise UsageError(f"--seeds '{text}' is no list of different whole numbers", "--seeds 0,1,2")
    return tuple(int(part) for part in parts)


def export_kept(
    name: str, weights: Path, folder: Path, calibration: str, shapes: Shapes | None = None
) -> dict[str, ExportedFile]:
    """A .tflite file for each precision of a kept network; a file that fails its gate is none.

    Args:
        name: zoo name of the network.
        weights: of the kept network, with its card beside it.
        folder: of the files.
        calibration: data of `toolchain export --calibration`.
        shapes: of the inputs, where they are others than the zoo's.
    """
    from toolchain.compress.experiment.files import PRECISIONS, ExportedFile
    from toolchain.export import export_source
    from toolchain.jobs import ExportOptions
    from toolchain.source import resolve

    options = ExportOptions(
        formats=("tflite",),
        precisions=PRECISIONS,
        output=folder,
        calibration=calibration,
        command="toolchain compress experiment",
    )
    made = export_source(resolve(name, weights, dict(shapes) if shapes else None), options)
    files = {artifact.precision: ExportedFile(artifact.path) for artifact in made.artifacts}
    rejected = "; ".join(error.message for error in made.rejected)
    return {precision: files.get(precision, ExportedFile(None, rejected)) for precision in PRECISIONS}


def _save_text(text: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"'{path}' cannot be written: {error.strerror}", "give another path with --markdown"
        ) from error
