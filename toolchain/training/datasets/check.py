"""A full check of a dataset: every pair is decoded once, and damaged ones are left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from toolchain.errors import UnsupportedError
from toolchain.training.datasets.mapping import MOST_LISTED, UnknownIndexError, listed
from toolchain.training.datasets.pairs import FacePairs, Skipped

# Share (0-1) of damaged pairs from which on there is more wrong with a dataset than single files.
MOST_DAMAGED = 0.01
# Pairs that an error names.
_NAMED = 5


def check_pairs(pairs: FacePairs) -> list[Skipped]:
    """Decode every pair, on all processor cores, and say which cannot be used.

    Returns:
        The damaged ones with the reason, in the order of `pairs.names`.
    """

    def check(index: int) -> Skipped | None:
        try:
            pairs.pair(index)
        except UnknownIndexError as error:
            return Skipped(pairs.names[index], error.message, error.indices)
        except UnsupportedError as error:
            return Skipped(pairs.names[index], error.message)
        return None

    # What a dataset draws here must not change what is drawn later.
    with torch.random.fork_rng(devices=()), ThreadPoolExecutor(os.cpu_count()) as pool:
        return [damaged for damaged in pool.map(check, range(len(pairs))) if damaged is not None]


def training_pairs(pairs: FacePairs) -> FacePairs:
    """The pairs that can be trained on; the damaged ones are in its `skipped`.

    Raises:
        UnsupportedError: more than `MOST_DAMAGED` of the pairs are damaged, and more than one is, or all are.
    """
    damaged = check_pairs(pairs)
    if len(damaged) > max(1, MOST_DAMAGED * len(pairs)) or len(damaged) == len(pairs):
        raise UnsupportedError(
            f"{_counted(damaged, pairs)} cannot be trained on: {_named(damaged)}",
            _unknown(damaged)
            + f"repair or remove them: up to {MOST_DAMAGED:.0%} are left out, more is no accident",
        )
    return pairs.without(damaged)


def validation_pairs(pairs: FacePairs) -> FacePairs:
    """The pairs, all of which can be measured on.

    Raises:
        UnsupportedError: one of them is damaged.
    """
    damaged = check_pairs(pairs)
    if damaged:
        raise UnsupportedError(
            f"{_counted(damaged, pairs)} cannot be measured on: {_named(damaged)}",
            _unknown(damaged)
            + "repair or remove them: figures of a part of the validation pairs do not compare with others",
        )
    return pairs


def check_damage(damaged: Sequence[Skipped], count: int, split: str, most: float) -> None:
    """Refuse a split of labelled pictures of which too many are damaged.

    Args:
        damaged: those that are.
        count: pictures in all.
        split: its name.
        most: share (0-1) that may be left out; one may be in any case if it is not 0.

    Raises:
        UnsupportedError: more than that are damaged, or all.
    """
    if len(damaged) <= (max(1, most * count) if most else 0) and len(damaged) < count:
        return
    hint = (
        f"up to {most:.0%} of the training pictures are left out, more is no accident"
        if most
        else "figures of a part of the pictures do not compare with others"
    )
    raise UnsupportedError(
        f"{len(damaged)} of {count} pictures of '{split}' are damaged: {_named(damaged)}",
        f"repair or remove them: {hint}",
    )


def _counted(damaged: list[Skipped], pairs: FacePairs) -> str:
    return f"{len(damaged)} of {len(pairs)} pairs of '{pairs.description}'"


def _unknown(damaged: Sequence[Skipped]) -> str:
    """What to do about indices that no class is given for, of all pairs; "" where there are none."""
    indices = sorted({index for entry in damaged for index in entry.unknown})
    if not indices:
        return ""
    if len(indices) > MOST_LISTED:
        return "so many indices are those of a picture, not of a label map; "
    return f'of a folder, give {listed(indices)} a class or "ignore" under [map]; otherwise '


def _named(damaged: Sequence[Skipped]) -> str:
    named = "; ".join(entry.reason for entry in damaged[:_NAMED])
    more = len(damaged) - _NAMED
    return f"{named}; and {more} more" if more > 0 else named
