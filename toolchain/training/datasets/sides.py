"""Whose left is left: the subject's or the viewer's, found out from the label maps themselves.

The classes here are the subject's: in a picture of an upright face the left eye is at the viewer's right.
Datasets name a "left eye" without saying whose left that is, and a network that learns one half of its
pictures the wrong way round learns neither, so nothing is taken for granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.training.datasets.mapping import SIDES

SAMPLES = 24
# Tilted heads and single mistakes are a few in a hundred; a mixture of conventions is not.
AGREEMENT = 0.75


def share_of_subjects_left(labels: Iterable[np.ndarray]) -> float | None:
    """Share (0-1) of pairs of brows and of eyes whose "left" is the subject's left.

    Args:
        labels: (height, width) uint8, with brows and eyes as in `toolchain.models.faces.LABELS`.

    Returns:
        None when no label map has both sides.
    """
    votes = [vote for label in labels for vote in _votes(label)]
    return sum(votes) / len(votes) if votes else None


def _votes(label: np.ndarray) -> Iterable[bool]:
    for left, right in SIDES:
        columns = [np.nonzero(label == number)[1] for number in (left, right)]
        if all(len(found) for found in columns):
            yield float(columns[0].mean()) > float(columns[1].mean())


def sampled_sides(count: int, read: Callable[[int], np.ndarray], where: str) -> bool | None:
    """Whether "left" is the subject's left in label maps spread evenly over a dataset.

    Args:
        count: number of pairs.
        read: label map of a pair; damaged ones are passed over.
        where: the dataset, for messages.

    Returns:
        None when no label map has both sides.

    Raises:
        UnsupportedError: less than `AGREEMENT` of them agree.
    """

    def labels() -> Iterable[np.ndarray]:
        for index in np.unique(np.linspace(0, count - 1, min(SAMPLES, count)).astype(int)):
            try:
                yield read(int(index))
            except UnsupportedError:
                continue

    share = share_of_subjects_left(labels())
    if share is None:
        return None
    if 1 - AGREEMENT < share < AGREEMENT:
        raise UnsupportedError(
            f"left is the subject's in {share:.0%} of the label maps of '{where}', the viewer's in others",
            "faces must be upright, and left must mean the same in all label maps",
        )
    return share >= AGREEMENT


def measured_sides(count: int, read: Callable[[int], np.ndarray], where: str) -> bool:
    """As `sampled_sides`, for datasets whose convention is not known from elsewhere.

    Raises:
        UnsupportedError: the label maps do not tell.
    """
    subject = sampled_sides(count, read, where)
    if subject is None:
        raise UnsupportedError(
            f"the label maps of '{where}' do not tell whether left is the subject's or the viewer's",
            "some of them must have both eyes or both brows",
        )
    return subject
