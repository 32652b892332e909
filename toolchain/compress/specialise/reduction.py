"""Label maps, masks and logits of all classes, as a network with only some of the classes has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from toolchain.errors import UsageError
from toolchain.training.datasets.pairs import IGNORE, FacePairs, Skipped


class ClassReduction:
    """From some classes to fewer of them; the first one, background, takes in all that are dropped.

    Args:
        labels: names of the classes that there are.
        kept: names of the classes that stay, the first of `labels` first.

    Raises:
        UsageError: a class to be kept is not among them.
    """

    def __init__(self, labels: Sequence[str], kept: Sequence[str]) -> None:
        missing = [name for name in kept if name not in labels]
        if missing or not kept or kept[0] != labels[0]:
            raise UsageError(
                f"classes {', '.join(kept)} are not among {', '.join(labels)}",
                f"the first one must be {labels[0]}",
            )
        self.rows = [labels.index(name) for name in kept]
        self.dropped = [index for index in range(len(labels)) if index not in self.rows]
        self._table = np.zeros(IGNORE + 1, np.uint8)
        self._table[self.rows] = np.arange(len(kept))
        self._table[IGNORE] = IGNORE

    def label_map(self, label: np.ndarray) -> np.ndarray:
        """Indices (uint8, any shape) of the old classes to those of the new ones; 255 stays."""
        return self._table[label]

    def labels(self, label: Tensor) -> Tensor:
        """Indices (int64, any shape) of the old classes to those of the new ones; 255 stays."""
        return torch.from_numpy(self._table).to(label.device)[label].long()

    def probabilities(self, mask: Tensor) -> Tensor:
        """(N, old classes, H, W) -> (N, new classes, H, W); empty masks stay empty, sums stay the same."""
        if not self.dropped:
            return mask
        background = mask[:, [0, *self.dropped]].sum(1, keepdim=True)
        return torch.cat([background, mask[:, self.rows[1:]]], dim=1)

    def logits(self, logits: Tensor) -> Tensor:
        """(N, old classes, H, W) -> (N, new classes, H, W), whose softmax is the reduced softmax.

        Probabilities of one class or another add up: the logit is the logarithm of the sum of exponentials.
        """
        if not self.dropped:
            return logits
        background = logits[:, [0, *self.dropped]].logsumexp(1, keepdim=True)
        return torch.cat([background, logits[:, self.rows[1:]]], dim=1)


class ReducedPairs(FacePairs):
    """Pairs whose label maps know only some of the classes.

    Args:
        pairs: with all classes.
        reduction: what becomes of them.
    """

    def __init__(self, pairs: FacePairs, reduction: ClassReduction) -> None:
        self.pairs, self.reduction = pairs, reduction
        self.names, self.size = pairs.names, pairs.size
        self.description, self.terms, self.skipped = pairs.description, pairs.terms, pairs.skipped

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) RGB uint8 and label map (size, size) uint8."""
        picture, label = self.pairs.pair(index)
        return picture, self.reduction.label_map(label)

    def without(self, damaged: Iterable[Skipped]) -> ReducedPairs:
        """The same pairs, but those."""
        return ReducedPairs(self.pairs.without(damaged), self.reduction)
