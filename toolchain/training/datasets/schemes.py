"""The registry of datasets: the scheme before the colon of `--data` to the function that opens it."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.registry import Registry
from toolchain.training.datasets.pairs import FacePairs

SPLITS = ("train", "val", "test")
# Of `classification.open_pictures`, which have one class a picture.
CLASSIFICATION_SCHEMES = ("mnist", "images")

# Takes what follows the colon, the split, and the side in pixels.
Opener = Callable[[str, str, int], FacePairs]

schemes: Registry[Opener] = Registry("data scheme")
