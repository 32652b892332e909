"""What can be measured: anything that does one unit of work when asked and says how long its stages took."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

INFERENCE = "inference"
TOTAL = "total"


class Contender(Protocol):
    """One of the things that are measured against each other.

    A model file is a contender with the one stage "inference"; a pipeline has a stage for each of its steps.
    """

    name: str

    def load(self) -> None:
        """Make it ready to run; timed apart, called once."""

    def run(self) -> dict[str, float]:
        """Do one unit of work (an inference, a frame).

        Returns:
            Milliseconds by stage, in the order of the work, the same stages every time (0.0 for one that was
            not needed); without "total", which the harness measures around this call. The dict is read
            before the next call, so that it may be the same object each time.
        """

    def close(self) -> None:
        """Give everything back; called once, also after a failure."""


@runtime_checkable
class Prepared(Protocol):
    """A contender with something to do between loading and the first run that is part of neither."""

    def prepare(self) -> None:
        """Make what it runs on, such as random inputs; called once after `load`, not timed."""
