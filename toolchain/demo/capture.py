"""Frames from a source, in a thread of their own, at the pace at which a camera would give them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event, Thread
from time import perf_counter
from typing import Any, cast

import numpy as np

from toolchain.demo.look import Controls
from toolchain.demo.mailbox import Mailbox
from toolchain.errors import ToolchainError
from toolchain.face.source import Source

# Seconds until a camera that went away is looked for again, and between two looks at the keys while paused.
RETRY, PAUSE = 1.0, 0.02


@dataclass(frozen=True)
class Frame:
    """A frame of the source.

    Attributes:
        picture: (height, width, 3) RGB uint8; must not be changed.
        arrival: when it came, in seconds of `time.perf_counter`.
        first: whether it does not follow the frame before, as one of a folder of pictures.
    """

    picture: np.ndarray
    arrival: float
    first: bool


class Capture(Thread):
    """Reads a source until it ends, or `stop`.

    In real time the newest frame waits in the mailbox, and one that nobody took is dropped: frames of a
    camera come when they come, those of a clip at its rate, and stills when the user asks for the next one.
    Otherwise every frame waits until it is taken.

    Args:
        source: where the frames come from.
        mailbox: where they go; closed at the end.
        controls: what pauses a clip, and asks for the next still.
        realtime: see above.
        retry: whether a camera that went away is waited for.

    Attributes:
        count: frames that came so far.
        message: what the user should know now, "" for nothing.
        error: why the source ended, None when it came to its end.
    """

    def __init__(
        self,
        source: Source,
        mailbox: Mailbox[Frame],
        controls: Controls,
        realtime: bool,
        retry: bool = True,
    ) -> None:
        super().__init__(name="capture", daemon=True)
        self.count = 0
        self.message = ""
        self.error: BaseException | None = None
        self._source, self._mailbox, self._controls = source, mailbox, controls
        self._realtime, self._retry = realtime, retry and source.live
        self._stopped = Event()

    def stop(self) -> None:
        """End soon; frames that wait stay in the mailbox."""
        self._stopped.set()
        self._controls.following.set()
        self._mailbox.close()

    def run(self) -> None:
        """See `threading.Thread`."""
        try:
            while not self._stopped.is_set():
                try:
                    self._read()
                    break
                except ToolchainError as error:
                    if not self._retry or self.count == 0:
                        raise
                    self.message = f"{error.message}: trying again"
                    self._stopped.wait(RETRY)
        except BaseException as error:
            self.error = error
        finally:
            self._mailbox.close()

    def _read(self) -> None:
        source = self._source
        rate = source.rate if self._realtime and not source.live else None
        stills = not source.live and source.rate is None
        first = True
        # A source may only promise an iterator; those that hold a device are generators.
        with closing(cast(Any, self._frames())) as frames:
            due = perf_counter()
            for picture in frames:
                if rate is not None:
                    due = self._wait_until(due, rate)
                if self._stopped.is_set():
                    return
                self.message = ""
                self.count += 1
                if not self._post(Frame(picture, perf_counter(), first or stills)):
                    return
                first = False
                if stills and self._realtime:
                    self._controls.following.wait()
                    self._controls.following.clear()

    def _frames(self) -> Iterator[np.ndarray]:
        yield from self._source.frames()

    def _post(self, frame: Frame) -> bool:
        if not self._realtime:
            return self._mailbox.put(frame)
        if not (self._source.live and self._controls.paused):
            self._mailbox.offer(frame)
        return True

    def _wait_until(self, due: float, rate: float) -> float:
        """Wait for the time of a frame of a clip; returns that of the next one."""
        while self._controls.paused and not self._stopped.wait(PAUSE):
            due = perf_counter()
        now = perf_counter()
        if now < due:
            self._stopped.wait(due - now)
        # A clip that cannot be decoded in time runs slower, and does not hurry afterwards.
        return max(due, now - 1 / rate) + 1 / rate
