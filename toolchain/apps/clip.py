"""The clip that the apps' benchmark runs over: a photograph that moves as a face before a held phone does.

The photograph comes with this package, so that nothing is downloaded and no clip is kept beside the sources.
Its terms are written beside the frames.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from toolchain.face.picture import read_picture
from toolchain.publish import staging

PHOTOGRAPH = Path(__file__).with_name("astronaut.jpg")
TERMS = """\
The pictures beside this file are made of one photograph: the astronaut Eileen Collins, by NASA, in the public
domain. It shows a person who can be recognized: do not use it to suggest that she or NASA endorses anything
(NASA's guidelines for the use of its images).

They are the clip of the app's benchmark, written by `toolchain export --app`. To measure on another clip,
delete them and put it here: it stays.
"""
NAME = "astronaut"
# Of a phone that is held upright. It ends where it begins, since the benchmark goes round and round.
FRAMES, WIDTH, HEIGHT, QUALITY = 18, 480, 640, 28
# Pixels of the photograph: the middle of what is shown, and how far it goes; the width shown, and the same.
MIDDLE, SWAY, SHOWN, ZOOM = (225.0, 164.0), (6.0, 3.0), 225.0, 6.0
# What an app may take for a clip.
CLIPS = frozenset({".jpg", ".jpeg", ".png", ".mp4", ".mov", ".m4v"})


def frames() -> Iterator[np.ndarray]:
    """FRAMES pictures (HEIGHT, WIDTH, 3) RGB uint8."""
    photograph = read_picture(PHOTOGRAPH)
    for number in range(FRAMES):
        turn = 2 * math.pi * number / FRAMES
        scale = (SHOWN + ZOOM * math.cos(turn)) / WIDTH
        left = MIDDLE[0] + SWAY[0] * math.sin(turn) - scale * (WIDTH - 1) / 2
        top = MIDDLE[1] + SWAY[1] * math.sin(2 * turn) - scale * (HEIGHT - 1) / 2
        place = np.array([[scale, 0.0, left], [0.0, scale, top]])
        yield cv2.warpAffine(
            photograph, place, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )


def write_clip(folder: Path) -> bool:
    """Write the frames and their terms, all or none; what an earlier call has written is replaced.

    Returns:
        Whether they were written: a clip of the user's own that lies there stays the only one.

    Raises:
        UsageError: the folder cannot be written to.
        ToolchainError: the disk is full.
    """
    with staging(folder) as stage:
        there = [path for path in folder.iterdir() if path.suffix.lower() in CLIPS]
        older = [path for path in there if path.name.startswith(f"{NAME}-")]
        if len(older) < len(there):
            return False
        for number, frame in enumerate(frames()):
            shown = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
            _, content = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            stage.path(f"{NAME}-{number:03d}.jpg").write_bytes(content.tobytes())
        stage.path(f"{NAME}.txt").write_text(TERMS, encoding="utf-8")
        for path in older:
            path.unlink()
        for path in sorted(stage.folder.iterdir()):
            os.replace(path, folder / path.name)
    return True
