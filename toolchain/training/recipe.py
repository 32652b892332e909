"""Recipes: everything that decides how a face parser is trained, as TOML files."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from toolchain.errors import UsageError
from toolchain.training.augment import AugmentSettings
from toolchain.training.losses import LossSettings
from toolchain.training.precision import AUTO, PRECISIONS
from toolchain.training.previous import PreviousSettings
from toolchain.training.settings import check, choice, number, share

RECIPES = Path(__file__).parent / "recipes"
# Networks halve the picture up to five times.
SIZE_STEP = 32


@dataclass(frozen=True)
class OptimizerSettings:
    """The `[optimizer]` table of a recipe.

    Attributes:
        name: "adamw" (arXiv:1711.05101) or "rmsprop".
        learning_rate: peak learning rate.
        weight_decay: decoupled for AdamW, added to the gradient for RMSprop; not for biases and norms.
        clip: largest norm of the gradient of all parameters together; 0 for no limit.
    """

    name: str = choice("adamw", ("adamw", "rmsprop"))
    learning_rate: float = number(4e-3, 0.0, 100.0)
    weight_decay: float = number(1e-4, 0.0, 10.0)
    clip: float = number(1.0, 0.0, 1e6)

    def __post_init__(self) -> None:
        check(self, "optimizer")


@dataclass(frozen=True)
class ScheduleSettings:
    """The `[schedule]` table of a recipe: the learning rate over time.

    Attributes:
        name: "cosine" or "steps".
        warmup: share of all steps during which the rate grows linearly.
        every: for "steps": epochs after which the rate is multiplied by `factor`.
        factor: for "steps".
    """

    name: str = choice("cosine", ("cosine", "steps"))
    warmup: float = share(0.05)
    every: int = 40
    factor: float = share(0.1)

    def __post_init__(self) -> None:
        check(self, "schedule")
        _check_whole("schedule.every", self.every, 1)


@dataclass(frozen=True)
class Recipe:
    """How to train, data and network apart.

    Attributes:
        name: of the recipe: that of its file.
        description: one line.
        size: side of the training pictures in pixels, a multiple of 32.
        epochs: passes over the training split.
        batch_size: pictures a step, on each device.
        precision: "bf16-mixed", "16-mixed" or "32"; "auto" is decided by the computer, see `precision.py`.
        weight_average: decay of the exponential moving average of the weights, which is what is validated
            and written; 0 for the weights themselves.
        optimizer: table `[optimizer]`.
        schedule: table `[schedule]`.
        augment: table `[augment]`.
        previous: table `[previous]`, for networks that take a previous mask.
        loss: table `[loss]`.
    """

    name: str = "best"
    description: str = ""
    size: int = 256
    epochs: int = 20
    batch_size: int = 32
    precision: str = choice(AUTO, PRECISIONS)
    weight_average: float = number(0.0, 0.0, 0.999999)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    previous: PreviousSettings = field(default_factory=PreviousSettings)
    loss: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        check(self, "recipe")
        if not isinstance(self.description, str):
            raise UsageError(f"description is {self.description!r}", "give a text")
        _check_whole("size", self.size, SIZE_STEP)
        _check_whole("epochs", self.epochs, 1)
        _check_whole("batch_size", self.batch_size, 1)
        if self.size % SIZE_STEP:
            raise UsageError(f"size {self.size} is not a multiple of {SIZE_STEP}", "use 128 or 256")

    def with_values(
        self,
        *,
        size: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        precision: str | None = None,
    ) -> Recipe:
        """The recipe with other values; None leaves a value as it is."""
        given = {"size": size, "epochs": epochs, "batch_size": batch_size, "precision": precision}
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if learning_rate is not None:
            changes["optimizer"] = replace(self.optimizer, learning_rate=learning_rate)
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """All values, defaults included, as JSON can express them."""
        return _as_json(asdict(self))


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name: str | Path) -> Recipe:
    """The recipe called `name`, or the one in the file `name`, which ends in `.toml`.

    Raises:
        UsageError: there is none, or the file has an unknown key or a value that is not allowed.
    """
    text = str(name)
    if not text.endswith(".toml"):
        if text not in recipe_names():
            hint = f"recipes are {', '.join(recipe_names())}, or give the path of a .toml file"
            raise UsageError(f"unknown recipe '{text}'", _near(text, recipe_names()) + hint)
        return _read_file(RECIPES / f"{text}.toml")
    return _read_file(Path(text))


def _read_file(path: Path) -> Recipe:
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"recipe '{path}' cannot be read: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"recipe '{path}' is not UTF-8 text", "save it as UTF-8") from error
    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"recipe '{path}' is not TOML: {error}", "see the recipe `best`") from error
    try:
        return parse_recipe(path.stem, table)
    except UsageError as error:
        raise UsageError(f"recipe '{path}': {error.message}", error.hint) from error


def parse_recipe(name: str, table: Mapping[str, Any]) -> Recipe:
    """A recipe from the tables of its file; keys that are left out keep their defaults.

    Raises:
        UsageError: an unknown key, or a value that is not allowed; the message names it.
    """
    if "name" in table:
        raise UsageError("unknown key 'name'", "a recipe is called like its file")
    values = dict(table)
    for item in fields(Recipe):
        if item.name in values and item.default_factory is not MISSING:
            values[item.name] = _parse_table(item.default_factory, item.name, values[item.name])
    _check_keys(Recipe, "", values)
    return Recipe(name=name, **values)


def _parse_table(kind: Any, name: str, table: Any) -> Any:
    if not isinstance(table, Mapping):
        raise UsageError(f"'{name}' is not a table", f"write it as [{name}]")
    _check_keys(kind, f"{name}.", table)
    return kind(**table)


def _check_keys(kind: type, prefix: str, table: Mapping[str, Any]) -> None:
    known = [item.name for item in fields(kind)]
    for key in table:
        if key not in known:
            hint = _near(key, known) + f"keys are {', '.join(k for k in known if prefix or k != 'name')}"
            raise UsageError(f"unknown key '{prefix}{key}'", hint)


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _check_whole(key: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{key} is {value!r}", f"give a whole number of at least {least}")


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(entry) for key, entry in value.items()}
    return [_as_json(entry) for entry in value] if isinstance(value, list | tuple) else value
