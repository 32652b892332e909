"""The one registry: names to things, with no silent overwriting and with help for typing errors."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from toolchain.errors import UsageError

T = TypeVar("T")

# Entries that a hint names where no command lists them.
MOST_LISTED = 12


class Registry(Generic[T]):
    """Maps names to entries of one kind.

    Args:
        kind: what an entry is called in messages ("model", "operator", ...).
        listing: the command that lists the entries, for the hint of an unknown name.
    """

    def __init__(self, kind: str, listing: str = "") -> None:
        self.kind = kind
        self.listing = listing
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Enter `entry` under `name`. Raises ValueError when the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._entries[name] = entry
        return entry

    def register(self, *names: str) -> Callable[[T], T]:
        """Decorator that enters the decorated object under each of `names`."""

        def decorate(entry: T) -> T:
            for name in names:
                self.add(name, entry)
            return entry

        return decorate

    def get(self, name: str) -> T:
        """The entry called `name`. Raises UsageError that suggests near names."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=3, cutoff=0.5)
        hints = []
        if near:
            hints.append(f"did you mean {' or '.join(near)}?")
        if self.listing:
            hints.append(f"`{self.listing}` lists all")
        elif 0 < len(self) <= MOST_LISTED:
            hints.append(f"known are {', '.join(self)}")
        raise UsageError(f"unknown {self.kind} '{name}'", "; ".join(hints))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
