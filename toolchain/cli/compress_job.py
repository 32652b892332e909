"""The training behind `toolchain compress specialise` and `distill`: its options, its networks, its card."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli import shapes
from toolchain.cli.output import note, on_terminal, say, show_json
from toolchain.cli.train import MOST_SEED
from toolchain.errors import MissingDependencyError, UsageError
from toolchain.spec import CLASSIFICATION

if TYPE_CHECKING:
    from toolchain.compress.distill.teacher import Teacher
    from toolchain.compress.specialise.fit import Network

TEACHER_HELP = "NAME or NAME:WEIGHTS of a trained network to learn from; also FILE.py:FACTORY[:WEIGHTS]."

Data = Annotated[
    str,
    typer.Option(help="What to train on: celebamask:PATH, images:PATH, mnist:FOLDER or coco:PATH."),
]
Scratch = Annotated[bool, typer.Option("--scratch", help="Start from random weights.")]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        help="Keep only the largest channels before training: a share such as 0.5, or LAYER=0.5; repeatable."
    ),
]
Share = Annotated[float, typer.Option(help="The teacher's share of the loss, 0 to 1.")]
Temperature = Annotated[float, typer.Option(help="Temperature of the teacher's answers.")]
Recipe = Annotated[str | None, typer.Option(help="Recipe of the task, or path of a .toml file.")]
Size = Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training pictures.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Pictures a step.")]
LearningRate = Annotated[float | None, typer.Option(help="Peak learning rate.")]
Precision = Annotated[str | None, typer.Option(help="auto, bf16-mixed, 16-mixed or 32.")]
Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of every random generator.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode pictures.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Training batches an epoch, for a trial.")]
Accelerator = Annotated[str, typer.Option(help="Lightning: auto, cpu, gpu, mps.")]
InputShape = Annotated[list[str] | None, typer.Option(help=shapes.HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the card as JSON, nothing else.")]


def make_job(accelerator: str, as_json: bool, sparsity: dict[str, Any] | None = None, **values: Any) -> Any:
    """The job of a training.

    Args:
        accelerator: of Lightning.
        as_json: standard output is for the card, so that no progress bar is shown.
        sparsity: keyword arguments of `SparsitySettings`, None for no term.
        **values: further fields of `Job`.

    Raises:
        MissingDependencyError: the packages of training are missing.
    """
    try:
        from toolchain.compress.sparsity.settings import SparsitySettings
        from toolchain.compress.specialise.job import Job
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"compression needs the package '{error.name}'", 'pip install "mobile-toolchain[compress]"'
        ) from error
    settings = SparsitySettings(**sparsity) if sparsity is not None else None
    command = shlex.join(["toolchain", *sys.argv[1:]])
    return Job(
        sparsity=settings,
        trainer={"accelerator": accelerator},
        progress=on_terminal() and not as_json,
        report=note,
        command=command,
        **values,
    )


def refuse_given(context: typer.Context, names: Sequence[str], why: str, hint: str) -> None:
    """Refuse options that would do nothing.

    Args:
        context: of the command.
        names: of its parameters.
        why: they do nothing, after the option's name.
        hint: what to do.

    Raises:
        UsageError: one of them was given.
    """
    for name in names:
        source = context.get_parameter_source(name)
        # Newer Typers carry a Click of their own, with its own ParameterSource.
        if source is not None and source.name == "COMMANDLINE":
            option = next(option for option in context.command.params if option.name == name)
            raise UsageError(f"{'/'.join([option.opts[0], *option.secondary_opts])} {why}", hint)


def open_network(
    model: str, weights: Path | None, input_shape: Any = None, scratch: bool = False, seed: int = 0
) -> Network:
    """The network that `model` stands for.

    Raises:
        UsageError: there is none, it is an ONNX file, or both weights and random ones are asked for.
    """
    import torch

    from toolchain.compress.specialise.fit import Network
    from toolchain.models.weights_file import are_reshaped
    from toolchain.models.zoo import zoo
    from toolchain.source import resolve
    from toolchain.training.start import HEADS, start_from

    if scratch and weights is not None:
        raise UsageError("--scratch and --weights exclude each other", "leave one of them out")
    torch.manual_seed(seed)
    if model in zoo():
        entry = zoo().get(model)
        if scratch:
            return Network(entry.build(), entry.spec, new_head=True)
        if weights is not None and entry.spec.task == CLASSIFICATION and not are_reshaped(weights):
            network = entry.build()
            started = start_from(network, weights)
            if any(name.startswith(HEADS) for name in started.fresh):
                if started.unused:
                    note(f"left out of '{weights}': {', '.join(started.unused)}")
                note(f"the head of '{model}' starts at random: that of '{weights}' has other sizes")
                return Network(network, entry.spec, new_head=True)
    source = resolve(model, weights, input_shape)
    if source.module is None:
        raise UsageError(f"'{model}' cannot be trained", "give a zoo name or FILE.py:FACTORY")
    return Network(source.module, source.spec)


def open_teacher(text: str, **settings: Any) -> Teacher:
    """The teacher "NAME[:WEIGHTS]", "FILE.py:FACTORY[:WEIGHTS]" or "PACKAGE.MODULE:FACTORY[:WEIGHTS]".

    Raises:
        UsageError: there is no such network, or a zoo network has no weights.
    """
    from toolchain.compress.distill.teacher import Teacher
    from toolchain.models.zoo import zoo
    from toolchain.source import resolve

    name, _, path = text.partition(":")
    factory, _, after = path.partition(":")
    # A file of weights has a suffix, and so is no name that Python could import.
    if name.endswith(".py") or (name not in zoo() and factory.isidentifier()):
        path = after
        name = f"{name}:{factory}"
    source = resolve(name, Path(path) if path else None)
    if source.module is None:
        raise UsageError(f"teacher '{text}' is no PyTorch network", "give a zoo name or FILE.py:FACTORY")
    if name in zoo() and not source.trained:
        raise UsageError(f"no weights ship with the teacher '{name}'", f"give them: --teacher {name}:PATH")
    return Teacher(source.module, source.spec, text, **settings)


def show_card(card: dict[str, Any] | None, job: Any, network: Network, as_json: bool) -> None:
    """The card, or its figures."""
    if card is None:
        return
    if as_json:
        show_json(card)
        return
    say(f"wrote {job.output / network.spec.name}.safetensors and its card")
    for title, owner in {"figures": "", "figures_whole": "whole network: "}.items():
        for name, value in card.get(title, {}).items():
            say(f"  {owner}{name}: {value}")
    if card["terms"]:
        note(card["terms"])
