"""`toolchain train`: train a network of the zoo."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from toolchain.cli.output import note, on_terminal, say, show_json
from toolchain.errors import MissingDependencyError


class Task(StrEnum):
    """What can be trained."""

    face_parsing = "face-parsing"


def train(
    task: Annotated[Task, typer.Argument(help="What to train for.")],
    data: Annotated[str, typer.Option(help="celebamask:PATH of the zip file.")],
    model: Annotated[str, typer.Option(help="Zoo name of the network.")] = "mobile-hourglass",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default runs/TASK/MODEL.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 256,
    epochs: Annotated[int, typer.Option(help="Passes over the training pictures.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Pictures a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 4e-3,
    seed: Annotated[int, typer.Option(help="Seed of every random generator.")] = 0,
    weights: Annotated[Path | None, typer.Option(help="State dict to start from.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that decode pictures.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Training batches an epoch; for a trial run.")] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning: auto, cpu, gpu, mps.")] = "auto",
    devices: Annotated[str, typer.Option(help="Lightning: auto, a count, or indices such as 0,1.")] = "auto",
    strategy: Annotated[str, typer.Option(help="Lightning: auto, ddp, fsdp, ...")] = "auto",
    nodes: Annotated[int, typer.Option(help="Lightning: number of machines.")] = 1,
    precision: Annotated[str, typer.Option(help="Lightning: bf16-mixed, 16-mixed, 32.")] = "bf16-mixed",
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON, nothing else.")] = False,
) -> None:
    try:
        from toolchain.training.recipe import TrainOptions, train_face_parsing
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"training needs the package '{error.name}'", 'pip install "mobile-toolchain[train]"'
        ) from error
    trainer: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": devices,
        "strategy": strategy,
        "num_nodes": nodes,
        "precision": precision,
    }
    options = TrainOptions(
        data=data,
        model=model,
        output=output or Path("runs") / task.value / model,
        size=size,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        weights=weights,
        resume=resume,
        workers=workers,
        limit=limit,
        trainer=trainer,
        progress=on_terminal() and not as_json,
        command=" ".join(["toolchain", *sys.argv[1:]]),
    )
    card = train_face_parsing(options)
    if as_json:
        show_json(card)
        return
    say(f"wrote {options.output / model}.safetensors and its card")
    for name, value in card["figures"].items():
        say(f"  {name}: {value}")
    note(card["terms"])
