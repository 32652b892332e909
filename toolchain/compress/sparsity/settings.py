"""What the method of kernel sparsity is set to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from toolchain.errors import UsageError
from toolchain.training.settings import check, choice, share

KINDS = ("l1/l2", "l1", "l2")
SCOPES = ("global", "layer")
SCHEDULES = ("constant", "linear", "cosine")
MOST_STRENGTH = 1e30


@dataclass(frozen=True)
class SparsitySettings:
    """What the method is set to.

    Attributes:
        strength: lambda, what the term is multiplied with.
        kind: "l1/l2", "l1" or "l2", see `sparsity_term`.
        scope: "global": kernels of all layers compete with each other, in the term and for the threshold;
            "layer": those of one layer.
        normalised: the term does not grow with the network, see `sparsity_term`; False: as published.
        threshold: share (0-1) of the sum of all n under which the kernels set to zero after an epoch stay.
        start_epoch: epochs before the method begins: neither term nor zeroing.
        end_epoch: epochs after which it ends, None for never; zeroed kernels stay zero, the others recover.
        exempt: names of convolutions that are left alone, with wildcards.
        schedule: of the strength between start and end: "constant"; "linear" or "cosine" (half a wave) up
            from 0, full in the last epoch. It changes from epoch to epoch.
        biases: with a kernel, its bias and the scale and shift of the BatchNorm directly behind it are held
            at zero, so that its channel is exactly 0 and not a constant. False: weights alone, as published.
    """

    strength: float = field(metadata={"limits": (0.0, MOST_STRENGTH), "kind": "number"})
    kind: str = choice("l1/l2", KINDS)
    scope: str = choice("global", SCOPES)
    normalised: bool = True
    threshold: float = share(0.01)
    start_epoch: int = 0
    end_epoch: int | None = None
    exempt: tuple[str, ...] = ()
    schedule: str = choice("constant", SCHEDULES)
    biases: bool = True

    def __post_init__(self) -> None:
        check(self, "sparsity")
        if self.threshold >= 1:
            raise UsageError(f"sparsity.threshold is {self.threshold:g}", "give a share below 1, as 0.01")
        last = math.inf if self.end_epoch is None else self.end_epoch
        if not 0 <= self.start_epoch < last:
            raise UsageError(
                f"sparsity.start_epoch is {self.start_epoch}, end_epoch {self.end_epoch}",
                "give whole numbers of epochs, the start before the end",
            )
        object.__setattr__(self, "exempt", tuple(self.exempt))

    def strength_of(self, epoch: int, epochs: int) -> float:
        """The strength in an epoch.

        Args:
            epoch: from 0 on.
            epochs: of the whole training.
        """
        if not self.in_force(epoch):
            return 0.0
        last = epochs if self.end_epoch is None else min(epochs, self.end_epoch)
        done = (epoch + 1 - self.start_epoch) / max(1, last - self.start_epoch)
        rise = {"constant": 1.0, "linear": done, "cosine": (1 - math.cos(math.pi * done)) / 2}
        return self.strength * rise[self.schedule]

    def check_beginning(self, epochs: int) -> None:
        """Refuse a method that would never begin.

        Args:
            epochs: of the whole training; 0 or less where that is not known.

        Raises:
            UsageError: the training ends before the method begins.
        """
        if 0 < epochs <= self.start_epoch:
            raise UsageError(
                f"the method begins after {self.start_epoch} epochs, and the training has {epochs}",
                "begin earlier (start_epoch), or train longer",
            )

    def in_force(self, epoch: int) -> bool:
        """Whether term and zeroing are on in an epoch (from 0 on)."""
        return self.start_epoch <= epoch and (self.end_epoch is None or epoch < self.end_epoch)

    def as_json(self) -> dict[str, Any]:
        """All values as JSON can express them."""
        return {**asdict(self), "exempt": list(self.exempt)}
