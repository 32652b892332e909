"""`toolchain compress specialise`: re-train a network for some of its classes, and shrink its head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli import compress_job, shapes
from toolchain.cli.compress_train import Biases, EndEpoch, ExemptCoupled, Schedule, StartEpoch, Strengths
from toolchain.cli.output import foreign_prints_aside

# What only the sparsity term uses, and what only a teacher does.
OF_THE_TERM: tuple[str, ...] = ("kind", "scope", "threshold", "exempt", "exempt_coupled", "biases")
OF_THE_TERM += ("start_epoch", "end_epoch", "schedule")
OF_THE_TEACHER = ("share", "temperature")


def compress_specialise(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Zoo name, or FILE.py:FACTORY.")],
    classes: Annotated[
        str,
        typer.Option(help="Classes to keep, with commas; of faces also lips, mouth, eyes and brows."),
    ],
    data: compress_job.Data,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default runs/specialised/MODEL.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="State dict to start from; default those that ship.")
    ] = None,
    scratch: compress_job.Scratch = False,
    strength: Annotated[
        float, typer.Option(min=0, help="What the sparsity term is multiplied with; 0 for no term.")
    ] = 0.1,
    kind: Annotated[str, typer.Option(help="Sparsity term: l1/l2, l1 or l2.")] = "l1/l2",
    scope: Annotated[str, typer.Option(help="Who competes: global or layer.")] = "global",
    threshold: Annotated[
        float, typer.Option(help="Share of all kernels' values that is set to zero after an epoch, at most.")
    ] = 0.01,
    exempt: Annotated[
        list[str] | None, typer.Option(help="Layer that keeps its kernels, with wildcards; repeatable.")
    ] = None,
    exempt_coupled: ExemptCoupled = False,
    start_epoch: StartEpoch = 0,
    end_epoch: EndEpoch = None,
    schedule: Strengths = Schedule.constant,
    biases: Biases = True,
    keep: compress_job.Keep = None,
    teacher: Annotated[str | None, typer.Option(help=compress_job.TEACHER_HELP)] = None,
    share: compress_job.Share = 0.5,
    temperature: compress_job.Temperature = 2.0,
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
    if strength == 0:
        compress_job.refuse_given(
            context, OF_THE_TERM, "does nothing with --strength 0", "leave it out, or give a strength"
        )
    if teacher is None:
        compress_job.refuse_given(
            context, OF_THE_TEACHER, "does nothing without a teacher", "add --teacher NAME[:WEIGHTS]"
        )
    job = compress_job.make_job(
        data=data,
        output=output or Path("runs") / "specialised" / Path(model.rpartition(":")[2]).name,
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
        sparsity={
            "strength": strength,
            "kind": kind,
            "scope": scope,
            "threshold": threshold,
            "exempt": tuple(exempt or ()),
            "start_epoch": start_epoch,
            "end_epoch": end_epoch,
            "schedule": schedule.value,
            "biases": biases,
        }
        if strength > 0
        else None,
        exempt_coupled=exempt_coupled,
        accelerator=accelerator,
        as_json=as_json,
        weights=weights,
    )
    from toolchain.compress.specialise.classes import split_names
    from toolchain.compress.specialise.specialise import specialise
    from toolchain.compress.specialise.thin import parse_shares

    shares = parse_shares(keep or [])
    with foreign_prints_aside():
        whole = compress_job.open_network(model, weights, shapes.parse_shapes(input_shape), scratch, seed)
        taught = compress_job.open_teacher(teacher, share=share, temperature=temperature) if teacher else None
    compress_job.show_card(specialise(whole, split_names(classes), job, taught, shares), job, whole, as_json)
