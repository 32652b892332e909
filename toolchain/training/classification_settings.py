"""How classifiers (and small segmenters) are trained, as TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from toolchain.errors import UsageError
from toolchain.training.precision import PRECISIONS
from toolchain.training.recipe import ScheduleSettings
from toolchain.training.settings import check, choice, number, share, span

RECIPES = Path(__file__).parent / "recipes" / "classification"

Settings = TypeVar("Settings", bound="ClassifierSettings")


@dataclass(frozen=True)
class ClassifierOptimizer:
    """The `[optimizer]` table.

    Attributes:
        name: "sgd" with Nesterov momentum, or "adamw" (arXiv:1711.05101).
        learning_rate: peak learning rate.
        weight_decay: not for biases and normalization.
        momentum: of "sgd".
        clip: largest norm of the gradient of all parameters together; 0 for no limit.
    """

    name: str = choice("sgd", ("sgd", "adamw"))
    learning_rate: float = number(0.05, 0.0, 1000.0)
    weight_decay: float = number(5e-4, 0.0, 10.0)
    momentum: float = number(0.9, 0.0, 0.999)
    clip: float = number(0.0, 0.0, 1e6)

    def __post_init__(self) -> None:
        check(self, "optimizer")


@dataclass(frozen=True)
class PictureAugmentation:
    """The `[augment]` table: what a batch of pictures goes through.

    Attributes:
        flip: probability of exchanging left and right.
        shift: largest shift in each direction, as share of the side; the outermost pixels are repeated.
        zoom: smallest and largest factor of size.
        colour: largest change of brightness and of contrast, as share.
    """

    flip: float = share(0.0)
    shift: float = number(0.0, 0.0, 0.5)
    zoom: tuple[float, float] = span((1.0, 1.0), 0.25, 4.0)
    colour: float = number(0.0, 0.0, 0.9)

    def __post_init__(self) -> None:
        check(self, "augment")


@dataclass(frozen=True)
class ClassifierSettings:
    """How to train, data and network apart.

    Attributes:
        name: of the recipe: that of its file.
        description: one line.
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        precision: "bf16-mixed", "16-mixed" or "32"; "auto" is decided by the computer, see `precision.py`.
        channels_last: memory layout of the pictures while training.
        label_smoothing: share (0-1) of the target that is spread over all classes (arXiv:1512.00567).
        optimizer: table `[optimizer]`.
        schedule: table `[schedule]`: the learning rate over time.
        augment: table `[augment]`.
    """

    name: str = "default"
    description: str = ""
    epochs: int = 20
    batch_size: int = 128
    precision: str = choice("32", PRECISIONS)
    channels_last: bool = False
    label_smoothing: float = share(0.0)
    optimizer: ClassifierOptimizer = field(default_factory=ClassifierOptimizer)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    augment: PictureAugmentation = field(default_factory=PictureAugmentation)

    def __post_init__(self) -> None:
        check(self, "recipe")
        for key in ("epochs", "batch_size"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{key} is {value!r}", "give a whole number of at least 1")
        if not isinstance(self.channels_last, bool):
            raise UsageError(f"channels_last is {self.channels_last!r}", "it is true or false")

    def with_values(
        self: Settings,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        precision: str | None = None,
    ) -> Settings:
        """The settings with other values; None leaves a value as it is."""
        given = {"epochs": epochs, "batch_size": batch_size, "precision": precision}
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if learning_rate is not None:
            changes["optimizer"] = replace(self.optimizer, learning_rate=learning_rate)
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """All values, defaults included, as JSON can express them."""
        values = asdict(self)
        values["augment"]["zoom"] = list(self.augment.zoom)
        return values


def classifier_recipes() -> list[str]:
    """Names of the recipes that come with the package: those of the networks that they are for."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_classifier_settings(name: str | Path) -> ClassifierSettings:
    """The recipe called `name`, or the one in the file `name`, which ends in `.toml`.

    Raises:
        UsageError: there is none, or the file has an unknown key or a value that is not allowed.
    """
    text = str(name)
    if not text.endswith(".toml"):
        if text not in classifier_recipes():
            raise UsageError(
                f"no recipe '{text}' for classifiers",
                f"recipes are {', '.join(classifier_recipes())}, or give the path of a .toml file",
            )
        path = RECIPES / f"{text}.toml"
    else:
        path = Path(text)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"recipe '{path}' cannot be read: {error.strerror}", "check the path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"recipe '{path}' is not TOML: {error}") from error
    try:
        return parse_classifier_settings(path.stem, table)
    except UsageError as error:
        raise UsageError(f"recipe '{path}': {error.message}", error.hint) from error


def parse_classifier_settings(name: str, table: Mapping[str, Any]) -> ClassifierSettings:
    """Settings from the tables of a file; keys that are left out keep their defaults.

    Raises:
        UsageError: an unknown key, or a value that is not allowed; the message names it.
    """
    values = dict(table)
    for item in fields(ClassifierSettings):
        if item.name in values and item.default_factory is not MISSING:
            kind: Any = item.default_factory
            inner = values[item.name]
            if not isinstance(inner, Mapping):
                raise UsageError(f"'{item.name}' is not a table", f"write it as [{item.name}]")
            _check_keys(kind, f"{item.name}.", inner)
            values[item.name] = kind(**inner)
    _check_keys(ClassifierSettings, "", values)
    return ClassifierSettings(name=name, **values)


def _check_keys(kind: type, prefix: str, table: Mapping[str, Any]) -> None:
    known = [item.name for item in fields(kind) if prefix or item.name != "name"]
    for key in table:
        if key not in known:
            raise UsageError(f"unknown key '{prefix}{key}'", f"keys are {', '.join(known)}")
