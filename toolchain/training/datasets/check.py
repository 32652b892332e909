"""A full check of a dataset: every pair is decoded once."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.errors import UnsupportedError
from toolchain.training.datasets.pairs import FacePairs, Skipped


def check_pairs(pairs: FacePairs, progress: Callable[[int, int], None] | None = None) -> list[Skipped]:
    """Decode every pair, and say which cannot be used.

    `pairs.without(check_pairs(pairs))` is what can be trained on.

    Args:
        pairs: the dataset.
        progress: called with the number of pairs done and the number of all.

    Returns:
        The damaged ones with the reason, in the order of `pairs.names`.
    """
    damaged = []
    for index, name in enumerate(pairs.names):
        try:
            pairs.stored(index)
        except UnsupportedError as error:
            damaged.append(Skipped(name, error.message))
        if progress is not None:
            progress(index + 1, len(pairs))
    return damaged
