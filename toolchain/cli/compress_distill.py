"""`toolchain compress distill`: train a small network to answer as a large one does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import shapes
from toolchain.cli.compress_specialise import (
    DATA_HELP,
    KEEP_HELP,
    MOST_SEED,
    TEACHER_HELP,
    make_job,
    open_network,
    open_teacher,
    show_card,
)
from toolchain.cli.output import foreign_prints_aside, on_terminal


def compress_distill(
    model: Annotated[str, typer.Argument(help="The student: zoo name, or FILE.py:FACTORY.")],
    teacher: Annotated[str, typer.Option(help=TEACHER_HELP)],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default runs/distilled/MODEL.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="The student's weights, pruned ones for example; default those that ship."),
    ] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Start from random weights.")] = False,
    share: Annotated[float, typer.Option(help="The teacher's share of the loss, 0 to 1.")] = 0.5,
    temperature: Annotated[float, typer.Option(help="Temperature of the teacher's answers.")] = 2.0,
    pairwise: Annotated[
        float, typer.Option(help="Factor of the pairwise term between features, for segmenters.")
    ] = 0.0,
    keep: Annotated[list[str] | None, typer.Option(help=KEEP_HELP)] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe of the task, or path of a .toml file.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16-mixed, 16-mixed or 32.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of every random generator.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Training batches an epoch, for a trial.")] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning: auto, cpu, gpu, mps.")] = "auto",
    input_shape: Annotated[list[str] | None, typer.Option(help=shapes.HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON, nothing else.")] = False,
) -> None:
    job = make_job(
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
        sparsity=None,
        trainer={"accelerator": accelerator},
        progress=on_terminal() and not as_json,
        weights=weights,
    )
    from toolchain.compress.distill.distill import distill
    from toolchain.compress.specialise.thin import parse_shares

    shares = parse_shares(keep or [])
    with foreign_prints_aside():
        student = open_network(model, weights, shapes.parse_shapes(input_shape), scratch, seed)
        taught = open_teacher(teacher, share=share, temperature=temperature, pairwise=pairwise)
    show_card(distill(student, taught, job, shares), job, student, as_json)
