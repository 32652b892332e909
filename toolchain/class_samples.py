"""Samples out of the data sets that classifiers are trained on: mnist:FOLDER and images:PATH."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from toolchain.errors import UsageError
from toolchain.parity import Arrays, from_pixels
from toolchain.spec import CLASSIFICATION, ModelSpec

if TYPE_CHECKING:
    from toolchain.training.datasets.classification import ClassificationData, Split

# Pictures lie by class: a few of them are of all classes in this order only.
ORDER_SEED = 0


def is_classified(text: str) -> bool:
    """Whether the text is SCHEME:WHAT with a scheme of the labelled pictures."""
    scheme, colon, _ = text.partition(":")
    if not colon:
        return False
    from toolchain.training.datasets.schemes import CLASSIFICATION_SCHEMES

    return scheme in CLASSIFICATION_SCHEMES


class ClassSamples:
    """Labelled pictures as samples of a network, classes mixed, in an order that never changes.

    Args:
        spec: the network's contract; pictures are brought to its range as in training.
        text: "mnist:FOLDER" or "images:PATH".
        trained: the training pictures; otherwise those for validation, never those for the final test.

    Raises:
        UsageError: nothing is there, or the pictures do not fit the network.
        UnsupportedError: a picture is damaged.
    """

    def __init__(self, spec: ModelSpec, text: str, trained: bool) -> None:
        from toolchain.training.datasets.classification import open_classification

        self._spec, self._text = spec, text
        self._shape = spec.inputs[0].shape
        if len(self._shape) != 4:
            raise UsageError(f"'{spec.name}' takes {self._shape}, no pictures as in '{text}'")
        size = None if text.startswith("mnist:") else self._shape[-1]
        self._data: ClassificationData = open_classification(text, size)
        if self._data.shape != self._shape[1:]:
            raise UsageError(
                f"pictures in '{text}' are {_sizes(self._data.shape)}, '{spec.name}' takes"
                f" {_sizes(self._shape[1:])}",
                "give a folder of pictures, which are brought to size and colours",
            )
        self._split: Split = self._data.train if trained else self._data.validation
        self._order = np.random.default_rng(ORDER_SEED).permutation(len(self._split))

    def __len__(self) -> int:
        return len(self._order) // self._shape[0]

    def __iter__(self) -> Iterator[Arrays]:
        """Inputs by name; inputs beyond the first are zero."""
        others = {t.name: np.zeros(t.shape, t.dtype) for t in self._spec.inputs[1:]}
        for number in range(len(self)):
            pixels = self._split.images[self._chosen(number)].numpy()
            contract = self._spec.preprocess
            # Without a contract they are 0 to 1, as classifiers are trained on them.
            pictures = pixels / np.float32(255) if contract is None else from_pixels(pixels, contract)
            yield {self._spec.inputs[0].name: pictures, **others}

    def labels(self, count: int) -> list[np.ndarray] | None:
        """Class numbers of the network, (batch,) int64 for each of the first samples.

        Returns:
            None where the network is no classifier, or has none of the classes of the data.

        Raises:
            UsageError: it has some of the classes only.
        """
        names, known = self._data.labels, self._spec.labels
        if self._spec.task != CLASSIFICATION or not set(names) & set(known):
            return None
        missing = [name for name in names if name not in known]
        if missing:
            raise UsageError(
                f"'{self._spec.name}' has no class '{missing[0]}' of '{self._text}', and has others",
                f"its classes are {', '.join(known[:5])}{', ...' * (len(known) > 5)}",
            )
        table = np.array([known.index(name) for name in names])
        targets = self._split.targets.numpy()
        return [table[targets[self._chosen(number)]] for number in range(min(count, len(self)))]

    def _chosen(self, number: int) -> np.ndarray:
        batch = self._shape[0]
        return self._order[number * batch :][:batch]


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
