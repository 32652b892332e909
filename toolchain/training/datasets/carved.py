"""The scheme "carved": face pairs whose validation split is carved out of the training pairs.

For experiments that choose on a validation split and judge, once, on another one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from toolchain.training.datasets.pairs import FacePairs

SCHEME = "carved"
EVERY = 10


def open_carved(
    what: str, split: str, size: int, open_pairs: Callable[[str, str, int], FacePairs]
) -> FacePairs:
    """Training pairs but every tenth ("train"), every tenth ("val"), and what the data calls "val" ("test").

    Neighbours in a data set are no frames of one video, so that every tenth is as good as a random draw, and
    depends on nothing.

    Args:
        what: data with its own scheme, as "celebamask:PATH".
        split: "train", "val" or "test".
        size: side in pixels.
        open_pairs: opens `what`.
    """
    if split == "test":
        return open_pairs(what, "val", size)
    pairs = open_pairs(what, "train", size)
    made = copy.copy(pairs)
    made.names = [
        name for index, name in enumerate(pairs.names) if (index % EVERY == EVERY - 1) == (split == "val")
    ]
    return made
