"""Faces by BlazeFace (Bazarevsky et al., arXiv:1907.05047), the short-range network of MediaPipe.

Facts of its model card and graph: RGB 128 x 128 in [-1, 1], the picture letterboxed; 896 anchors, two at each
point of a 16 x 16 grid (stride 8) and six at each of an 8 x 8 grid (three layers of stride 16 with two
each), all of unit size; 16 numbers an anchor: centre, width and height of the box, then right eye, left eye,
nose tip, mouth, right and left ear, all as x, y in pixels of the input from the anchor's centre; one logit an
anchor, clipped to +-100. Boxes that overlap are averaged with their scores as weights.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from toolchain.errors import UnsupportedError
from toolchain.face.landmarks import box_of_landmarks
from toolchain.face.picture import check_picture
from toolchain.face.region import Box
from toolchain.runtimes import load

SIDE = 128
STRIDES = (8, 16, 16, 16)
ANCHORS_A_LAYER = 2
NUMBERS, ANCHORS = 16, 896
LOGIT_LIMIT = 100.0
SCORE, OVERLAP = 0.5, 0.3
RIGHT_EYE, LEFT_EYE, MOUTH = slice(4, 6), slice(6, 8), slice(10, 12)


class BlazeFace:
    """A short-range BlazeFace file. Not to be shared between threads.

    Its boxes are drawn by other rules than the cascade's, so that the boxes here come from its points.

    Args:
        path: the `.tflite` file.
        threads: of one operator.

    Raises:
        UnsupportedError: the file is damaged or has other inputs and outputs.
        MissingDependencyError: no interpreter is installed.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.name = f"BlazeFace {path.name}"
        self._runtime = load(path, threads=threads)
        wanted = {(1, ANCHORS, NUMBERS), (1, ANCHORS, 1)}
        inputs, outputs = self._runtime.inputs, self._runtime.outputs
        fits = [(spec.shape, spec.dtype) for spec in inputs] == [((1, SIDE, SIDE, 3), "float32")]
        if not fits or len(outputs) != 2 or {spec.shape for spec in outputs} != wanted:
            self._runtime.close()
            raise UnsupportedError(
                f"'{path}' is no short-range BlazeFace: that takes float32 1x{SIDE}x{SIDE}x3 and gives "
                f"1x{ANCHORS}x{NUMBERS} and 1x{ANCHORS}x1",
                "give face_detection_short_range.tflite of MediaPipe, or leave --detector out",
            )
        by_shape = {spec.shape: spec.name for spec in outputs}
        self._input = inputs[0].name
        self._numbers, self._logits = by_shape[1, ANCHORS, NUMBERS], by_shape[1, ANCHORS, 1]
        self._anchors = anchors()

    def detect(self, picture: np.ndarray) -> list[Box]:
        """Faces in a picture, the largest first; empty when there is none.

        Args:
            picture: (height, width, 3) RGB uint8.

        Raises:
            UsageError: `picture` is no such array.
            UnsupportedError: the network failed.
        """
        check_picture(picture)
        height, width = picture.shape[:2]
        scale = SIDE / max(height, width)
        matrix = np.array(
            [
                [scale, 0.0, (SIDE - (width - 1) * scale - 1) / 2],
                [0.0, scale, (SIDE - (height - 1) * scale - 1) / 2],
            ]
        )
        if scale < 1:
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            padded: np.ndarray = np.zeros((SIDE, SIDE, 3), np.uint8)
            top, left = (SIDE - small.shape[0]) // 2, (SIDE - small.shape[1]) // 2
            padded[top : top + small.shape[0], left : left + small.shape[1]] = small
            matrix[:, 2] = left + (scale - 1) / 2, top + (scale - 1) / 2
        else:
            padded = cv2.warpAffine(picture, matrix, (SIDE, SIDE))
        values = (padded.astype(np.float32) / 127.5 - 1)[None]
        answer = self._runtime.run({self._input: values})
        faces = decode(answer[self._numbers][0], answer[self._logits][0, :, 0], self._anchors)
        # From areas (a pixel's centre lies half a pixel inside) to the places of pixels, and back.
        to_picture = cv2.invertAffineTransform(matrix)
        boxes = []
        for face in faces:
            points = [face[part] * SIDE - 0.5 for part in (RIGHT_EYE, LEFT_EYE, MOUTH)]
            right, left_eye, mouth = (
                tuple((to_picture @ (point[0], point[1], 1.0)).tolist()) for point in points
            )
            boxes.append(box_of_landmarks(right, left_eye, mouth))
        return sorted(boxes, key=lambda box: (-box.width * box.height, box.x, box.y))


def anchors() -> np.ndarray:
    """(896, 2) float32: x and y of the anchors' centres in units of the input's side.

    Layers of equal stride share their grid: two anchors for each of them lie at every point.
    """
    made = []
    for stride in sorted(set(STRIDES)):
        points = SIDE // stride
        many = ANCHORS_A_LAYER * STRIDES.count(stride)
        y, x = np.mgrid[:points, :points]
        made.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1) + 0.5, many, axis=0) / points)
    return np.concatenate(made).astype(np.float32)


def decode(numbers: np.ndarray, logits: np.ndarray, centres: np.ndarray) -> list[np.ndarray]:
    """Faces in the answer of the network, the surest first.

    Args:
        numbers: (896, 16) float32.
        logits: (896,) float32.
        centres: (896, 2), from `anchors`.

    Returns:
        (16,) each, in units of the input's side: centre, width and height of the box, then six points.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT)))
    likely = np.flatnonzero(scores >= SCORE)
    values, scores = numbers[likely] / SIDE, scores[likely]
    values[:, :2] += centres[likely]
    for point in range(4, NUMBERS, 2):
        values[:, point : point + 2] += centres[likely]
    found = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        same = _overlaps(values[left[0]], values[left]) > OVERLAP
        same[0] = True
        group = left[same]
        found.append((values[group] * scores[group, None]).sum(axis=0) / scores[group].sum())
        left = left[~same]
    return found


def _overlaps(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with several, by centre, width and height."""
    shared = 1.0
    for axis in (0, 1):
        low = np.maximum(one[axis] - one[axis + 2] / 2, many[:, axis] - many[:, axis + 2] / 2)
        high = np.minimum(one[axis] + one[axis + 2] / 2, many[:, axis] + many[:, axis + 2] / 2)
        shared = shared * np.maximum(0, high - low)
    union = one[2] * one[3] + many[:, 2] * many[:, 3] - shared
    return shared / np.maximum(union, 1e-12)
