"""One face parser on the consecutive frames of a shot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.evaluate.contenders import Contender
from toolchain.face.clip import Clip, Shot, read_frames
from toolchain.face.motion import MovingMask, shrunk_planes
from toolchain.face.preprocess import dequantized, softmax
from toolchain.face.region import crop, crop_matrix, face_square, whole_square
from toolchain.models.faces import LABELS
from toolchain.spec import PROBABILITIES

# Probabilities that were stored with 8 bits still add up to one this well.
SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class Crops:
    """The region of interest of consecutive frames.

    Attributes:
        pictures: (frames, size, size, 3) RGB uint8.
        matrices: one (2, 3) per frame, picture to crop; the same object while the region holds still.
        inside: one (size, size) bool per frame, where the crop shows a part of the picture.
    """

    pictures: np.ndarray
    matrices: tuple[np.ndarray, ...]
    inside: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def part(self, start: int, stop: int) -> Crops:
        """Frames `start` to `stop` (exclusive)."""
        return Crops(self.pictures[start:stop], self.matrices[start:stop], self.inside[start:stop])

    def holds_still(self, index: int) -> bool:
        """Whether frame `index` shows the same region as the frame before it."""
        return self.matrices[index] is self.matrices[index - 1]


@dataclass(frozen=True)
class Answer:
    """Labels (size, size) uint8 and class probabilities (classes, size, size) float32."""

    labels: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Seen:
    """A crop (size, size, 3) RGB uint8, and the probabilities (classes, size, size) float32 given to it."""

    picture: np.ndarray
    probabilities: np.ndarray


def cut_out(clip: Clip, shot: Shot, contender: Contender, whole: bool) -> Crops:
    """The region of interest of every frame of a shot as `contender` takes it, or with `whole` all of it."""
    size, contract = contender.size, contender.preprocess
    pictures = np.empty((shot.stop - shot.start, size, size, 3), np.uint8)
    matrices: list[np.ndarray] = []
    inside: list[np.ndarray] = []
    for index, frame in enumerate(read_frames(clip.path, shot.start, shot.stop)):
        if index == 0 or shot.boxes[index] is not shot.boxes[index - 1]:
            square = (
                whole_square(*frame.shape[:2])
                if whole
                else face_square(shot.boxes[index], contract.margin, contract.shift)
            )
            matrices.append(crop_matrix(square, size))
            shown = np.full(frame.shape[:2], 255, np.uint8)
            inside.append(cv2.warpAffine(shown, matrices[-1], (size, size), flags=cv2.INTER_LINEAR) == 255)
        else:
            matrices.append(matrices[-1])
            inside.append(inside[-1])
        pictures[index] = crop(frame, matrices[-1], size, contract.resize)
    return Crops(pictures, tuple(matrices), tuple(inside))


def answer_of(contender: Contender, picture: np.ndarray, previous: np.ndarray | None) -> Answer:
    """What a face parser says about one crop.

    Args:
        contender: the face parser.
        picture: (size, size, 3) RGB uint8.
        previous: class probabilities (classes, size, size) of the frame before; None for an empty mask.

    Raises:
        UnsupportedError: its output is not finite, or has labels beyond the classes.
    """
    scores = contender.scores(picture, previous)
    if scores.ndim == 2:
        if scores.min() < 0 or scores.max() >= len(LABELS):
            raise UnsupportedError(
                f"'{contender.name}' gives labels from {scores.min()} to {scores.max()}",
                "check the file with `toolchain verify`",
            )
        labels = scores.astype(np.uint8)
        return Answer(labels, np.eye(len(LABELS), dtype=np.float32)[labels].transpose(2, 0, 1))
    values = dequantized(scores, contender.output)
    sums = values.sum(axis=0)
    is_done = contender.output.name == PROBABILITIES or (
        bool((values >= 0).all()) and float(np.abs(sums - 1).max()) < SUM_TOLERANCE
    )
    probabilities = values if is_done else softmax(values)
    if not np.isfinite(probabilities).all():
        raise UnsupportedError(
            f"'{contender.name}' gives NaN or infinite scores", "check the file with `toolchain verify`"
        )
    return Answer(values.argmax(0).astype(np.uint8), probabilities)


def labels_alone(contender: Contender, crops: Crops, tick: Callable[[], None]) -> np.ndarray:
    """Labels (frames, size, size) uint8 with an empty previous mask at every frame."""
    answers = []
    for picture in crops.pictures:
        answers.append(answer_of(contender, picture, None).labels)
        tick()
    return np.stack(answers)


def labels_in_turn(
    contender: Contender,
    crops: Crops,
    tick: Callable[[], None],
    before: Seen | None = None,
    keep: Sequence[int] = (),
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Labels when every frame gets the answer to the frame before, carried along, as its previous mask.

    Args:
        contender: a face parser that takes one.
        crops: the frames.
        tick: called after every frame.
        before: the frame before the first; None for none.
        keep: numbers of frames whose probabilities are wanted.

    Returns:
        Labels (frames, size, size) uint8, and the probabilities by frame number.
    """
    answers, kept = [], {}
    mask = MovingMask()
    if before is not None:
        mask.put(before.picture, crops.matrices[0], shrunk_planes(before.probabilities))
    for index, picture in enumerate(crops.pictures):
        previous = mask.carried(picture, crops.matrices[index])
        made = answer_of(contender, picture, previous)
        mask.put(picture, crops.matrices[index], shrunk_planes(made.probabilities))
        answers.append(made.labels)
        if index in keep:
            kept[index] = made.probabilities
        tick()
    return np.stack(answers), kept
