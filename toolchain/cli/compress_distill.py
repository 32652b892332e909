"""`toolchain compress distill`: train a small network to answer as a large one does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import compress_job, shapes
from toolchain.cli.output import foreign_prints_aside


def compress_distill(
    model: Annotated[str, typer.Argument(help="The student: zoo name, or FILE.py:FACTORY.")],
    teacher: Annotated[str, typer.Option(help=compress_job.TEACHER_HELP)],
    data: compress_job.Data,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default runs/distilled/MODEL.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="The student's weights, pruned ones for example; default those that ship."),
    ] = None,
    scratch: compress_job.Scratch = False,
    share: compress_job.Share = 0.5,
    temperature: compress_job.Temperature = 2.0,
    pairwise: Annotated[
        float, typer.Option(help="Factor of the pairwise term between features, for segmenters.")
    ] = 0.0,
    keep: compress_job.Keep = None,
    recipe: compress_job.Recipe = None,
    size: compress_job.Size = None,
    epochs: compress_job.Epochs = None,
    batch_size: compress_job.BatchSize = None,
    learning_rate: compress_job.LearningRate = None,
    precision: compress_job.Precision = None,
    seed: compress_job.Seed = 0,
    resume: compress_job.Resume = False,
    workers: compress_job.Workers = 1,
    limit: compress_job.Limit = None,
    accelerator: compress_job.Accelerator = "auto",
    input_shape: compress_job.InputShape = None,
    as_json: compress_job.AsJson = False,
) -> None:
    job = compress_job.make_job(
        data=data,
        output=output or Path("runs") / "distilled" / Path(model.rpartition(":")[2]).name,
        recipe=recipe,
        size=size,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        precision=precision,
        seed=seed,
        resume=resume,
        workers=workers,
        limit=limit,
        accelerator=accelerator,
        as_json=as_json,
        weights=weights,
    )
    from toolchain.compress.distill.distill import distill
    from toolchain.compress.specialise.thin import parse_shares

    shares = parse_shares(keep or [])
    with foreign_prints_aside():
        student = compress_job.open_network(model, weights, shapes.parse_shapes(input_shape), scratch, seed)
        taught = compress_job.open_teacher(teacher, share=share, temperature=temperature, pairwise=pairwise)
    compress_job.show_card(distill(student, taught, job, shares), job, student, as_json)
