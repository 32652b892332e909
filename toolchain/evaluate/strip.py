"""Pictures of consecutive frames with their labels, for a person to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toolchain.evaluate.contenders import Contender
from toolchain.evaluate.follow import Crops
from toolchain.face.clip import Clip, Shot
from toolchain.face.colorize import colorize
from toolchain.face.picture import write_picture
from toolchain.models.faces import PALETTE

COLUMNS = 8


def write_strip(
    folder: Path,
    contender: Contender,
    clip: Clip,
    shot: Shot,
    crops: Crops,
    alone: np.ndarray,
    in_turn: np.ndarray,
    changes: np.ndarray,
) -> Path:
    """Write the COLUMNS frames that flicker most in turn as `CLIP-FRAME-ARTIFACT.png`, and return its path.

    The upper row has the labels with an empty previous mask, the lower one those with the previous mask; only
    the upper one is there when the network takes none.

    Args:
        folder: made when it is missing.
        contender: the face parser.
        clip: where the frames are from.
        shot: part of it.
        crops: of the shot.
        alone: labels (frames, size, size) uint8.
        in_turn: the same.
        changes: (frames,) pixels that changed.
    """
    first = busiest(changes, COLUMNS)
    chosen = range(first, min(first + COLUMNS, len(crops)))
    runs = (alone, in_turn) if contender.takes_previous else (alone,)
    rows = [
        np.hstack([colorize(crops.pictures[index], labels[index], PALETTE) for index in chosen])
        for labels in runs
    ]
    folder.mkdir(exist_ok=True)
    name = contender.name.replace("/", "-").replace(":", "-")
    path = folder / f"{clip.path.stem}-{shot.start + first}-{name}.png"
    write_picture(path, np.vstack(rows))
    return path


def busiest(changes: np.ndarray, frames: int) -> int:
    """Number of the first of the consecutive frames with the largest sum of changes."""
    sums = np.convolve(changes, np.ones(min(frames, len(changes)), np.int64), mode="valid")
    return int(sums.argmax())
