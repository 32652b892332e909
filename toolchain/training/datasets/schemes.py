"""The registry of datasets: the scheme before the colon of `--data` to the function that opens it."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.registry import Registry
from toolchain.training.datasets.pairs import FacePairs

SPLITS = ("train", "val", "test")

# Takes what follows the colon, the split, and the side in pixels.
Opener = Callable[[str, str, int], FacePairs]

schemes: Registry[Opener] = Registry("data scheme")
