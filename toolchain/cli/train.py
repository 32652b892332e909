"""`toolchain train`: train a network of the zoo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from toolchain.cli.output import note, on_terminal, say, show_json
from toolchain.errors import MissingDependencyError, UsageError

MOST_SEED = 2**32 - 1


class Task(StrEnum):
    """What can be trained."""

    face_parsing = "face-parsing"
    classification = "classification"


DEFAULT_MODELS = {Task.face_parsing: "mobile-hourglass", Task.classification: "lenet"}
# Options without a meaning for classifiers: their data are in memory, their size is the network's.
FACE_PARSING_ONLY = ("size", "teacher", "qat", "samples_every", "workers", "strategy", "nodes")


def train(
    ctx: typer.Context,
    task: Annotated[Task, typer.Argument(help="What to train for.")],
    data: Annotated[
        str,
        typer.Option(
            help="What to train on: celebamask:PATH, helen:PATH, lapa:PATH, folder:PATH.toml, or drawn:2000"
            " without any data; of classifiers mnist:FOLDER or images:PATH."
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="best, published, quick, qat, or the path of a .toml file; default best, with --qat: qat;"
            " of classifiers the one for the network."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Zoo name of the network; default mobile-hourglass, lenet.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default runs/TASK/MODEL.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step on each device.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate, whatever the devices.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, bf16-mixed, 16-mixed or 32.")] = None,
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
    model = model or DEFAULT_MODELS[task]
    output = output or Path("runs") / task.value / model
    progress = on_terminal() and not as_json
    command = " ".join(["toolchain", *sys.argv[1:]])
    if task is Task.classification:
        _refuse_given(ctx, FACE_PARSING_ONLY, task)
        from toolchain.cli.train_classification import ClassifierRun, train_classification

        changes = {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "precision": precision,
        }
        run = ClassifierRun(
            data=data,
            model=model,
            output=output,
            recipe=recipe,
            changes=changes,
            seed=seed,
            weights=weights,
            resume=resume,
            checkpoint_seconds=checkpoint_seconds,
            limit=limit,
            trainer={"accelerator": accelerator, **({} if devices == "auto" else {"devices": devices})},
            progress=progress,
            command=command,
        )
        _show(train_classification(run), output / model, as_json)
        return
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
        output=output,
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
        progress=progress,
        report=note,
        command=command,
    )
    card = train_face_parsing(options)
    if card is not None:
        _show(card, output / model, as_json)


def _refuse_given(ctx: typer.Context, options: Sequence[str], task: Task) -> None:
    """Refuse options that were given and would do nothing."""
    for name in options:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--{name.replace('_', '-')} has no meaning for {task.value}", "leave it out")


def _plain(value: Any) -> str:
    """A figure of a card, or several by name, as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {figure}" for name, figure in value.items())
    return str(value)


def _show(card: dict[str, Any], weights: Path, as_json: bool) -> None:
    if as_json:
        show_json(card)
        return
    say(f"wrote {weights}.safetensors and its card")
    for title in ("figures", "figures_rounded"):
        for name, value in card.get(title, {}).items():
            say(f"  {name}: {_plain(value)}")
    if card["terms"]:
        note(card["terms"])
