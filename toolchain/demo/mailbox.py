"""One slot between two threads: what is taken is always the newest."""

from __future__ import annotations

from threading import Condition
from time import monotonic
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Holds one item at most.

    Attributes:
        dropped: how many items were replaced before anyone took them.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._item: Item | None = None
        self._changed = Condition()
        self._closed = False

    def offer(self, item: Item) -> Item | None:
        """Leave an item in place of the one that nobody took; returns that one, None without one."""
        with self._changed:
            old, self._item = self._item, item
            self.dropped += old is not None
            self._changed.notify_all()
            return old

    def put(self, item: Item) -> bool:
        """Leave an item as soon as the one before was taken; False when the mailbox was closed instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is None or self._closed)
            if self._closed:
                return False
            self._item = item
            self._changed.notify_all()
            return True

    def take(self, timeout: float | None = None) -> Item | None:
        """The newest item; None when there is none within `timeout` seconds, or none will come."""
        end = None if timeout is None else monotonic() + timeout
        with self._changed:
            while self._item is None and not self._closed:
                left = None if end is None else end - monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            item, self._item = self._item, None
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Nothing more comes; what is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def finished(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._closed and self._item is None
