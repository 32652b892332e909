"""`toolchain compress train`: train with kernel sparsity."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.output import note, on_terminal, say, show_json, show_table
from toolchain.cli.train import MOST_SEED
from toolchain.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from toolchain.compress.sparsity.training import SparseOptions, SparseResult
    from toolchain.spec import ModelSpec

# More layers than this are left to the pictures.
MOST_ROWS = 12


ExemptCoupled = Annotated[
    bool,
    typer.Option(
        "--exempt-coupled",
        help="Spare layers of which no single kernel could be removed, as the branches of sums.",
    ),
]


class Kind(StrEnum):
    """The term."""

    ratio = "l1/l2"
    l1 = "l1"
    l2 = "l2"


class Scope(StrEnum):
    """Whose kernels compete."""

    network = "global"
    layer = "layer"


class Schedule(StrEnum):
    """The strength over the epochs."""

    constant = "constant"
    linear = "linear"
    cosine = "cosine"


StartEpoch = Annotated[int, typer.Option(help="Epochs before the method begins.")]
EndEpoch = Annotated[int | None, typer.Option(help="Epochs after which it ends; zeroed kernels stay zero.")]
Strengths = Annotated[Schedule, typer.Option(help="The strength over the epochs.")]
Biases = Annotated[
    bool,
    typer.Option(
        "--biases/--weights-only", help="Zero the bias and BatchNorm of a zeroed kernel, too, or not."
    ),
]


class Keep(StrEnum):
    """Weights that stay in the history."""

    front = "front"
    all = "all"


def compress_train(
    model: Annotated[
        str,
        typer.Argument(help="Zoo name of a classifier or face parser, or FILE.py:FACTORY of a classifier."),
    ],
    data: Annotated[
        str,
        typer.Option(help="mnist:FOLDER or images:PATH for classifiers, celebamask:PATH for face parsers."),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder; default runs/sparse/MODEL.")
    ] = None,
    strength: Annotated[
        float, typer.Option(help="What the sparsity term is multiplied with (lambda).")
    ] = 1.0,
    kind: Annotated[Kind, typer.Option(help="The term; l1 and l2 are for comparison.")] = Kind.ratio,
    scope: Annotated[
        Scope, typer.Option(help="Whose kernels compete: those of the network or of a layer.")
    ] = Scope.network,
    normalised: Annotated[
        bool,
        typer.Option(
            "--normalised/--as-published", help="Take the network's size out of the term, or leave it in."
        ),
    ] = True,
    threshold: Annotated[
        float,
        typer.Option(help="Kernels whose values together stay under this share of all are set to zero."),
    ] = 0.01,
    start_epoch: StartEpoch = 0,
    end_epoch: EndEpoch = None,
    schedule: Strengths = Schedule.constant,
    exempt: Annotated[
        list[str] | None, typer.Option(help="Convolution that keeps all kernels, as 'stem.*'; repeatable.")
    ] = None,
    exempt_coupled: ExemptCoupled = False,
    biases: Biases = True,
    may_lose: Annotated[
        float | None,
        typer.Option(
            help="Points that the chosen epoch may be worse than the best; default 0.1 (error) or 0.5 (F1)."
        ),
    ] = None,
    keep: Annotated[Keep, typer.Option(help="Epochs whose weights stay in the history.")] = Keep.front,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe of `toolchain train`, or a .toml file; default the network's.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, bf16-mixed, 16-mixed or 32.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of every random generator.")] = 0,
    weights: Annotated[Path | None, typer.Option(help="State dict to start from.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures of faces.")] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Training batches an epoch; for a trial run.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning: auto, cpu, gpu, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON, nothing else.")] = False,
) -> None:
    try:
        from toolchain.compress.sparsity.settings import SparsitySettings
        from toolchain.compress.sparsity.training import SparseOptions, train_sparse
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"training needs the package '{error.name}'", 'pip install "mobile-toolchain[compress]"'
        ) from error
    settings = SparsitySettings(
        strength,
        kind=kind.value,
        scope=scope.value,
        normalised=normalised,
        threshold=threshold,
        start_epoch=start_epoch,
        end_epoch=end_epoch,
        exempt=tuple(exempt or ()),
        schedule=schedule.value,
        biases=biases,
    )
    values = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
    }
    options = SparseOptions(
        model=model,
        data=data,
        output=output or Path("runs") / "sparse" / Path(model.rpartition(":")[2]).name,
        sparsity=settings,
        exempt_coupled=exempt_coupled,
        recipe=recipe,
        size=size,
        values=values,
        seed=seed,
        weights=weights,
        resume=resume,
        may_lose=may_lose,
        keep=keep.value,
        limit=limit,
        workers=workers,
        trainer={"accelerator": accelerator},
        progress=on_terminal() and not as_json,
        report=note,
        command=shlex.join(["toolchain", *sys.argv[1:]]),
        network=_own(model, weights, seed) if ":" in model else None,
    )
    result = train_sparse(options)
    if result is None:
        return
    if as_json:
        show_json(result.card)
    else:
        _show(result, options)


def _own(text: str, weights: Path | None, seed: int) -> tuple[nn.Module, ModelSpec]:
    """What the factory "FILE.py:FACTORY" or "PACKAGE.MODULE:FACTORY" makes, and the contract with it."""
    import torch

    from toolchain.compress.sparsity.classifier import CONTRACT
    from toolchain.source import UnknownShapeError, resolve

    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            source = resolve(text, weights)
    except UnknownShapeError as error:
        raise UsageError(f"nothing says what '{text}' takes and gives", CONTRACT) from error
    if source.module is None:
        raise UsageError(f"'{text}' cannot be trained", "give a zoo name or FILE.py:FACTORY")
    return source.module, source.spec


def _show(result: SparseResult, options: SparseOptions) -> None:
    record, card = result.record, result.card
    if len(record.zeroed) <= MOST_ROWS:
        rows = [(layer, left, of) for layer, (left, of) in card["sparsity"]["layers"].items()]
        show_table("", ("layer", "filters left", "of"), rows)
    gone = 100 * (1 - record.filters_left / record.filters)
    say(
        f"filters left: {record.filters_left} of {record.filters} ({gone:.1f} % gone),"
        f" in epoch {record.epoch}"
    )
    say(
        f"chosen by {result.figure}: {record.figures[result.figure]:.2f}, {result.best:.2f} in the best epoch"
    )
    for name, value in card["figures"].items():
        if isinstance(value, float):
            say(f"  {name}: {value}")
    say(f"wrote {result.weights} and its card")
    small = options.output / "removed"
    command = ["toolchain", "compress", "remove", options.model, "--weights", result.weights, "-o", small]
    following = [shlex.join(["toolchain", "compress", "pictures", str(options.output / "history")])]
    if record.filters_left < record.filters:
        # Without a zeroed kernel the command would refuse.
        following.insert(0, shlex.join(map(str, command)))
    say("next: " + "\n      ".join(following))
    if card["terms"]:
        note(card["terms"])
