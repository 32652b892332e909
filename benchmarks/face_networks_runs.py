"""Trainings of the comparison of face parsers: one folder per network and seed, all under one budget.

A folder NAME-seedS with a card of the same settings is finished, one with a checkpoint alone is gone on with,
and everything else is trained by `toolchain train face-parsing`, in a process of its own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from toolchain.benchmarks.int8_trained_files import TOOLCHAIN
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.models.zoo import zoo
from toolchain.training.checkpoints import LAST, RUN
from toolchain.training.datasets import open_pairs
from toolchain.training.recipe import Recipe, parse_recipe, read_recipe

FINISHED, STARTED, NEW = "finished", "started", "not started"
# What a recipe is called does not change what it trains.
CALLED = ("name", "description")
# Share (0-1) of the pairs that a training may have left out as damaged.
LEFT_OUT = 0.01
SHOWN = 8
ANEW = "tabulate with the settings that it was made with, or train in another --folder"


@dataclass(frozen=True)
class Budget:
    """What all networks have alike.

    Attributes:
        data: what `open_pairs` takes, as "celebamask:PATH".
        recipe: name or .toml file of the recipe.
        size: side of the pictures in pixels.
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        learning_rate: peak learning rate.
        workers: processes that decode; no setting of the result.
    """

    data: str
    recipe: str = "best"
    size: int = 128
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 2e-3
    workers: int = 1

    def values(self) -> Recipe:
        """The recipe with these values.

        Raises:
            UsageError: no such recipe, or a value that is not allowed.
        """
        return read_recipe(self.recipe).with_values(
            size=self.size,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )


@dataclass(frozen=True)
class Terms:
    """A budget that has been looked up: what the cards are compared with.

    Attributes:
        recipe: all values.
        data: as given.
        description: of the data, as cards say it.
        training: number of training pairs.
        validation: number of validation pairs.
    """

    recipe: Recipe
    data: str
    description: str
    training: int
    validation: int

    @property
    def steps(self) -> tuple[int, int]:
        """Fewest and most steps of a whole training; incomplete batches are dropped."""
        fewest = self.training - max(1, int(LEFT_OUT * self.training))
        low, high = (max(1, pairs // self.recipe.batch_size) for pairs in (fewest, self.training))
        return self.recipe.epochs * low, self.recipe.epochs * high


def terms_of(budget: Budget) -> Terms:
    """Look up recipe and data.

    Raises:
        UsageError: no such recipe or data, or a value that is not allowed.
        UnsupportedError: the data are damaged.
    """
    recipe = budget.values()
    training, validation = (open_pairs(budget.data, split, recipe.size) for split in ("train", "val"))
    scheme = budget.data.partition(":")[0]
    return Terms(recipe, budget.data, f"{validation.description}, {scheme}", len(training), len(validation))


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: zoo name of the network.
        seed: of the training.
        folder: where it is.
    """

    name: str
    seed: int
    folder: Path

    @property
    def weights(self) -> Path:
        """The weights; they are there when the card is."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        """The card, the last file that a training writes."""
        return self.folder / f"{self.name}.json"

    @property
    def state(self) -> str:
        """How far the training is: FINISHED, STARTED or NEW."""
        if self.card.is_file():
            return FINISHED
        return STARTED if (self.folder / LAST).is_file() else NEW


def runs_of(networks: dict[str, int], folder: Path) -> list[Run]:
    """The trainings of networks with their numbers of seeds, counted from 0."""
    return [
        Run(name, seed, folder / f"{name}-seed{seed}")
        for name, seeds in networks.items()
        for seed in range(seeds)
    ]


def read_card(run: Run, terms: Terms) -> dict[str, Any]:
    """The card of a finished training under these terms.

    Raises:
        UsageError: it was made with other settings; the message names both.
        UnsupportedError: it is no card.
    """
    card = zoo().get(run.name).card_of(run.weights)
    if card is None:
        raise UsageError(f"'{run.card}' is no card of '{run.name}'", "move it away")
    # A card of weights that were changed after training is about other weights.
    wanted = {"seed": run.seed, "data": terms.description, "teacher": None, "started_from": None}
    changed = _differences({key: card.get(key) for key in wanted}, wanted)
    changed += _recipe_differences(card.get("recipe"), terms.recipe, run.card)
    changed += _amounts(card, terms) + _other_file(str(card.get("command", "")), terms.data)
    if changed:
        raise UsageError(f"'{run.card}' was made with other settings: {_listed(changed)}", ANEW)
    return card


def check_checkpoint(run: Run, terms: Terms) -> None:
    """Refuse to go on with a training under other terms, before others have been trained for hours.

    Raises:
        UsageError: it was started with other settings; the message names both.
        UnsupportedError: the checkpoint is damaged.
    """
    path = run.folder / LAST
    try:
        before = torch.load(path, map_location="cpu", weights_only=True, mmap=True)[RUN]
    except Exception as error:
        raise UnsupportedError(
            f"'{path}' is no checkpoint of this version: {error!r}", "move its folder away"
        ) from error
    wanted = {"model": run.name, "seed": run.seed, "teacher": None, "limit": None, "qat": False}
    changed = _differences({key: before.get(key) for key in wanted}, wanted)
    changed += _recipe_differences(before.get("recipe"), terms.recipe, path)
    if changed:
        raise UsageError(f"'{path}' was started with other settings: {_listed(changed)}", ANEW)


def train(run: Run, budget: Budget) -> None:
    """Train, or go on where a training was interrupted.

    Raises:
        ToolchainError: the training failed; its own message is on standard error.
    """
    values = {
        "--data": budget.data,
        "--model": run.name,
        "-o": run.folder,
        "--recipe": budget.recipe,
        "--size": budget.size,
        "--epochs": budget.epochs,
        "--batch-size": budget.batch_size,
        "--learning-rate": budget.learning_rate,
        "--seed": run.seed,
        "--workers": budget.workers,
    }
    resume = ["--resume"] if run.state == STARTED else []
    arguments = ["train", "face-parsing", *(str(part) for pair in values.items() for part in pair), *resume]
    code = run_toolchain(arguments)
    if code:
        raise ToolchainError(
            f"training '{run.name}' with seed {run.seed} ended with status {code}",
            "its message is above; the same command goes on from the last checkpoint",
            exit_code=code if code > 0 else None,
        )


def run_toolchain(arguments: Sequence[str]) -> int:
    """Run the command line in a process of its own, which ends when this one is told to, and return its code.

    What it has to say about its progress goes to standard error.
    """
    command = [sys.executable, "-P", "-c", TOOLCHAIN, *arguments]
    with _termination_raises():
        return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Make SIGTERM an exception, on which `subprocess.run` ends the child.

    A training that lived on would write into the folder that the next attempt goes on with.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _recipe_differences(table: Any, recipe: Recipe, path: Path) -> list[str]:
    """Compare values; keys that the version which wrote them did not have keep their defaults."""
    if not isinstance(table, dict):
        return ["no recipe is recorded"]
    given = {key: value for key, value in table.items() if key not in CALLED}
    try:
        before = parse_recipe(recipe.name, given).as_json()
    except UsageError as error:
        raise UsageError(f"the recipe in '{path}' is of another version: {error.message}", ANEW) from error
    old, now = (
        {key: value for key, value in values.items() if key not in CALLED}
        for values in (before, recipe.as_json())
    )
    return _differences(old, now)


def _amounts(card: dict[str, Any], terms: Terms) -> list[str]:
    """Numbers of pictures, as far as protocol and steps tell them."""
    found: list[str] = []
    figures, training = (card.get(key) or {} for key in ("figures", "training"))
    protocol = f"{terms.validation} validation pairs, {terms.recipe.size} px, "
    if not str(figures.get("protocol", "")).startswith(protocol):
        found.append(f"protocol was {figures.get('protocol')!r}, not '{protocol}...'")
    steps, (fewest, most) = training.get("steps"), terms.steps
    if not isinstance(steps, int) or not fewest <= steps <= most:
        found.append(f"steps were {steps}, not {most} ({terms.training} training pairs)")
    return found


def _other_file(command: str, data: str) -> list[str]:
    """Whether the command of a card names other data; the folder may be another one."""
    name = os.path.basename(data.partition(":")[2].rstrip("/\\")) or data
    if "--data" not in command or re.search(rf"[/\\:]{re.escape(name)}(?=[\s/\\'\"]|$)", command):
        return []
    given = command.partition("--data")[2].lstrip("= ").split(" ")[0]
    return [f"data was '{given}', not '{data}'"]


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {old!r}, not {new!r}")
    return found


def _listed(changed: list[str]) -> str:
    more = len(changed) - SHOWN
    return "; ".join(changed[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
