"""Where in a network an error happened."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from torch import nn

from toolchain.errors import UnsupportedError


class ModulePlace:
    """While it is open it knows the innermost module that was entered and not left.

    Args:
        network: whose modules are watched.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._open: list[str] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> ModulePlace:
        for name, module in self._network.named_modules():
            self._hooks.append(module.register_forward_pre_hook(self._enter(name, module)))
            self._hooks.append(module.register_forward_hook(self._leave))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, name: str, module: nn.Module) -> Callable[..., None]:
        kind = type(module).__name__
        text = f"'{name}' ({kind})" if name else f"{kind}, the whole network"
        return lambda *_: self._open.append(text)

    def _leave(self, *_: Any) -> None:
        self._open.pop()

    def refusal(self, error: Exception) -> UnsupportedError:
        """What to raise after an error in the network's forward."""
        place = self._open[-1] if self._open else "outside its modules"
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return UnsupportedError(
            f"the graph of the network cannot be traced for removal: module {place}:"
            f" {type(error).__name__}: {lines[0][:200] if lines else '-'}",
            "write that module with ordinary layers and operations on tensors",
        )
