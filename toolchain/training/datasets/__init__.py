"""Datasets of face parsing, behind one function."""

from __future__ import annotations

from toolchain.errors import UsageError
from toolchain.training.datasets import carved, celebamask, drawn, folder, helen, lapa
from toolchain.training.datasets.check import check_pairs, training_pairs, validation_pairs
from toolchain.training.datasets.pairs import FacePairs
from toolchain.training.datasets.schemes import CLASSIFICATION_SCHEMES, SPLITS, schemes

schemes.add("celebamask", celebamask.open_celebamask)
schemes.add("helen", helen.Helen)
schemes.add("lapa", lapa.LaPa)
schemes.add("folder", folder.MappedFolder)
schemes.add("drawn", drawn.open_drawn)
schemes.add(carved.SCHEME, lambda what, split, size: carved.open_carved(what, split, size, open_pairs))

__all__ = [
    "SPLITS",
    "FacePairs",
    "check_pairs",
    "open_pairs",
    "schemes",
    "training_pairs",
    "validation_pairs",
]


def open_pairs(data: str, split: str, size: int) -> FacePairs:
    """The pairs that `data` names.

    Args:
        data: "SCHEME:WHAT". Schemes: "celebamask:PATH" (the zip of index maps, or the official folder of
            part masks), "helen:PATH" (SmithCVPR2013_dataset_resized), "lapa:PATH", "folder:PATH.toml" (any
            pictures with index maps and a class mapping), "drawn:COUNT" (drawn faces, no data needed),
            "carved:SCHEME:WHAT" (any of them: every tenth training pair is "val", and its "val" is "test").
        split: "train" or "val"; "test" where the dataset has one.
        size: side in pixels that pictures and label maps are brought to.

    Raises:
        UsageError: an unknown scheme or split, or nothing there.
        UnsupportedError: what is there is no such dataset.
    """
    scheme, colon, what = data.partition(":")
    if not colon or not what:
        raise UsageError(
            f"data '{data}' is not of the form SCHEME:PATH",
            f"for example celebamask:PATH, or drawn:2000 without any data; schemes are {', '.join(schemes)}",
        )
    if size < 1:
        raise UsageError(f"size {size} is not positive", "use 128 or 256")
    if split not in SPLITS:
        raise UsageError(f"unknown split '{split}'", f"splits are {', '.join(SPLITS)}")
    if scheme in CLASSIFICATION_SCHEMES and scheme not in schemes:
        raise UsageError(
            f"'{data}' has classes of pictures, not of pixels",
            f"`toolchain train classification` takes it; schemes of faces are {', '.join(schemes)}",
        )
    return schemes.get(scheme)(what, split, size)
