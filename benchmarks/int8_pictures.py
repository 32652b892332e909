"""Labelled pictures of handwritten digits: MNIST, as it is distributed."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.errors import UnsupportedError, UsageError

TRAIN, TEST = "train", "test"
IDX_PREFIX = {TRAIN: "train", TEST: "t10k"}
IDX_UNSIGNED_BYTE = 0x08


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures.

    Attributes:
        pixels: (N, 1, H, W) uint8, grey.
        labels: (N,) int64.
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def mnist(folder: Path, split: str) -> Pictures:
    """MNIST from its original four idx files, compressed with gzip; pixels are (N, 1, 28, 28).

    Raises:
        UsageError: a file is missing.
        UnsupportedError: a file is not what its name says.
    """
    prefix = IDX_PREFIX[split]
    pixels = _idx(folder / f"{prefix}-images-idx3-ubyte.gz", 3)
    labels = _idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 1)
    if len(pixels) != len(labels):
        raise UnsupportedError(f"'{folder}' has {len(pixels)} pictures and {len(labels)} labels of '{split}'")
    return Pictures(pixels[:, None], labels.astype(np.int64))


def _idx(path: Path, rank: int) -> np.ndarray:
    """Unsigned bytes of an idx file: two zero bytes, element type, rank, big-endian sizes, elements."""
    if not path.is_file():
        raise UsageError(f"no file '{path}'", "give the folder of MNIST's four .gz files")
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise UnsupportedError(f"'{path}' is no gzip file: {error}") from error
    start = 4 + 4 * rank
    if content[:4] != bytes((0, 0, IDX_UNSIGNED_BYTE, rank)) or len(content) < start:
        raise UnsupportedError(f"'{path}' is no idx file of {rank} dimensions")
    sizes = np.frombuffer(content, ">u4", rank, 4).astype(int)
    if len(content) != start + sizes.prod():
        raise UnsupportedError(f"'{path}' is cut off: {len(content)} bytes for {sizes.tolist()}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)
