"""Datasets of face parsing, behind one function."""

from __future__ import annotations

from toolchain.errors import UsageError
from toolchain.training.datasets.celebamask import CelebAMask
from toolchain.training.datasets.pairs import FacePairs

SPLITS = ("train", "val")


def open_pairs(data: str, split: str, size: int) -> FacePairs:
    """The pairs that `data` names.

    Args:
        data: "celebamask:PATH" with the path of the zip file.
        split: "train" or "val".
        size: side in pixels that pictures and label maps are brought to.

    Raises:
        UsageError: an unknown scheme, or nothing there.
        UnsupportedError: what is there is no such dataset.
    """
    scheme, colon, path = data.partition(":")
    if scheme != "celebamask" or not colon:
        raise UsageError(f"unknown data '{data}'", "write celebamask:PATH with the path of the zip file")
    return CelebAMask(path, split, size)
