"""The model zoo: a registry of (contract, factory) pairs, and the weights that ship with some of them."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from toolchain.errors import UnsupportedError
from toolchain.registry import Registry
from toolchain.spec import ModelSpec

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class ModelEntry:
    """One network of the zoo.

    Attributes:
        spec: its contract.
        factory: makes the module, untrained.
        arguments: keyword arguments for the factory.
    """

    spec: ModelSpec
    factory: Callable[..., nn.Module]
    arguments: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """A new module with untrained weights."""
        return self.factory(**self.arguments)

    @property
    def weights(self) -> Path | None:
        """The safetensors file that ships with this network, None when there is none."""
        path = WEIGHTS / f"{self.spec.name}.safetensors"
        return path if path.is_file() else None

    @property
    def card(self) -> dict[str, Any] | None:
        """The card of the shipped weights: data, terms, command, seed, figures, ranges."""
        return self.card_of(self.weights) if self.weights is not None else None

    def card_of(self, weights: Path) -> dict[str, Any] | None:
        """The card that `toolchain train` wrote beside the weights of this network; None without one.

        Raises:
            UnsupportedError: there is one, and it cannot be read.
        """
        path = weights.with_suffix(".json")
        if not path.is_file():
            return None
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UnsupportedError(
                f"'{path}' beside the weights is no card: {error}", "move it away, or train again"
            ) from error
        # A file of the same name that is about something else is nobody's card.
        return card if isinstance(card, dict) and card.get("model") == self.spec.name else None


_registry: Registry[ModelEntry] = Registry("model", "toolchain models")


def register_model(spec: ModelSpec, **arguments: Any) -> Callable[[Callable[..., nn.Module]], Any]:
    """Decorator that enters a factory into the zoo under `spec.name`.

    Args:
        spec: the contract of what the factory makes.
        **arguments: keyword arguments of the factory for this entry.
    """

    def decorate(factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        _registry.add(spec.name, ModelEntry(spec, factory, arguments))
        return factory

    return decorate


@cache
def zoo() -> Registry[ModelEntry]:
    """The registry, with every module of this package imported once."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{package}.{module.name}")
    return _registry
