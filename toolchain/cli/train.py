"""`toolchain train`: train a network of the zoo."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from toolchain.cli.output import note, on_terminal, say, show_json
from toolchain.errors import MissingDependencyError

MOST_SEED = 2**32 - 1


class Task(StrEnum):
    """What can be trained."""

    face_parsing = "face-parsing"


def train(
    task: Annotated[Task, typer.Argument(help="What to train for.")],
    data: Annotated[str, typer.Option(help="What to train on: celebamask:PATH of the zip file.")],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="best, published, quick, qat, or the path of a .toml file; default best, with --qat: qat."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Zoo name of the network.")] = "mobile-hourglass",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default runs/TASK/MODEL.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step on each device.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate, whatever the devices.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="bf16-mixed, 16-mixed or 32.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of every random generator.")] = 0,
    weights: Annotated[Path | None, typer.Option(help="State dict to start from.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="NAME or NAME:WEIGHTS of a trained network to learn from.")
    ] = None,
    qat: Annotated[
        bool,
        typer.Option(
            "--qat", help="Fine-tune with fake quantization, from --weights or those that ship; for int8."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")
    ] = False,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds between two checkpoints within an epoch.")
    ] = 300.0,
    samples_every: Annotated[
        int, typer.Option(min=1, help="Epochs between two sheets of sample pictures.")
    ] = 5,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures.")] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Training batches an epoch; for a trial run.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning: auto, cpu, gpu, mps.")] = "auto",
    devices: Annotated[str, typer.Option(help="Lightning: auto, a count, or indices such as 0,1.")] = "auto",
    strategy: Annotated[str, typer.Option(help="Lightning: auto or ddp.")] = "auto",
    nodes: Annotated[int, typer.Option(min=1, help="Lightning: number of machines.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON, nothing else.")] = False,
) -> None:
    try:
        from toolchain.training.fit import TrainOptions, train_face_parsing
        from toolchain.training.recipe import read_recipe
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"training needs the package '{error.name}'", 'pip install "mobile-toolchain[train]"'
        ) from error
    values = read_recipe(recipe or ("qat" if qat else "best")).with_values(
        size=size, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, precision=precision
    )
    trainer: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": devices,
        "strategy": strategy,
        "num_nodes": nodes,
    }
    options = TrainOptions(
        data=data,
        model=model,
        output=output or Path("runs") / task.value / model,
        recipe=values,
        seed=seed,
        weights=weights,
        teacher=teacher,
        qat=qat,
        resume=resume,
        workers=workers,
        limit=limit,
        checkpoint_seconds=checkpoint_seconds,
        samples_every=samples_every,
        trainer=trainer,
        progress=on_terminal() and not as_json,
        report=note,
        command=" ".join(["toolchain", *sys.argv[1:]]),
    )
    card = train_face_parsing(options)
    if card is None:
        return
    if as_json:
        show_json(card)
        return
    say(f"wrote {options.output / model}.safetensors and its card")
    for title in ("figures", "figures_rounded"):
        for name, value in card.get(title, {}).items():
            say(f"  {name}: {value}")
    if card["terms"]:
        note(card["terms"])
