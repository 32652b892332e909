"""`toolchain compress specialise`: re-train a network for some of its classes, and shrink its head."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli import shapes
from toolchain.cli.output import foreign_prints_aside, note, on_terminal, say, show_json
from toolchain.errors import MissingDependencyError, UsageError
from toolchain.spec import CLASSIFICATION

if TYPE_CHECKING:
    from toolchain.compress.distill.teacher import Teacher
    from toolchain.compress.specialise.fit import Network

MOST_SEED = 2**32 - 1
DATA_HELP = "What to train on: celebamask:PATH, images:PATH, mnist:FOLDER or coco:PATH."
KEEP_HELP = "Keep only the largest channels before training: a share such as 0.5, or LAYER=0.5; repeatable."
TEACHER_HELP = "NAME or NAME:WEIGHTS of a trained network to learn from; also FILE.py:FACTORY[:WEIGHTS]."


def compress_specialise(
    model: Annotated[str, typer.Argument(help="Zoo name, or FILE.py:FACTORY.")],
    classes: Annotated[
        str,
        typer.Option(help="Classes to keep, with commas; of faces also lips, mouth, eyes and brows."),
    ],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default runs/specialised/MODEL.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="State dict to start from; default those that ship.")
    ] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Start from random weights.")] = False,
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
    keep: Annotated[list[str] | None, typer.Option(help=KEEP_HELP)] = None,
    teacher: Annotated[str | None, typer.Option(help=TEACHER_HELP)] = None,
    share: Annotated[float, typer.Option(help="The teacher's share of the loss, 0 to 1.")] = 0.5,
    temperature: Annotated[float, typer.Option(help="Temperature of the teacher's answers.")] = 2.0,
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
        }
        if strength > 0
        else None,
        trainer={"accelerator": accelerator},
        progress=on_terminal() and not as_json,
        weights=weights,
    )
    from toolchain.compress.specialise.classes import split_names
    from toolchain.compress.specialise.specialise import specialise
    from toolchain.compress.specialise.thin import parse_shares

    shares = parse_shares(keep or [])
    with foreign_prints_aside():
        whole = open_network(model, weights, shapes.parse_shapes(input_shape), scratch, seed)
        taught = open_teacher(teacher, share=share, temperature=temperature) if teacher else None
    show_card(specialise(whole, split_names(classes), job, taught, shares), job, whole, as_json)


def make_job(sparsity: dict[str, Any] | None, **values: Any) -> Any:
    """The job of a training.

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
    command = " ".join(["toolchain", *sys.argv[1:]])
    return Job(sparsity=settings, report=note, command=command, **values)


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
            if any(name.startswith(HEADS) for name in start_from(network, weights).fresh):
                note(f"the head of '{model}' starts at random: that of '{weights}' has other sizes")
                return Network(network, entry.spec, new_head=True)
    source = resolve(model, weights, input_shape)
    if source.module is None:
        raise UsageError(f"'{model}' cannot be trained", "give a zoo name or FILE.py:FACTORY")
    return Network(source.module, source.spec)


def open_teacher(text: str, **settings: Any) -> Teacher:
    """The teacher "NAME[:WEIGHTS]" or "FILE.py:FACTORY[:WEIGHTS]".

    Raises:
        UsageError: there is no such network, or a zoo network has no weights.
    """
    from toolchain.compress.distill.teacher import Teacher
    from toolchain.models.zoo import zoo
    from toolchain.source import resolve

    name, _, path = text.partition(":")
    if name.endswith(".py"):
        factory, _, path = path.partition(":")
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
