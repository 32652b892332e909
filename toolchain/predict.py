"""Run a model file on a photograph: a face parser draws an overlay, a classifier names what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.colorize import ALPHA, colorize
from toolchain.face.detector import detector
from toolchain.face.parse import Contract, FaceParser, Stages, check_runtime
from toolchain.face.picture import check_writable, read_picture, write_picture
from toolchain.face.preprocess import dequantized, picture_input, picture_sizes, softmax
from toolchain.face.region import Box, central_square, crop, crop_matrix, face_square, whole_square
from toolchain.runtimes import Runtime, load
from toolchain.spec import CLASSIFICATION, SEGMENTATION, Artifact, load_sidecar

TOP = 5
# Probabilities that were stored with 8 bits still add up to one this well.
SUM_TOLERANCE = 0.02
SUFFIX = "-overlay.png"


@dataclass(frozen=True)
class Prediction:
    """What a network made of a photograph.

    Attributes:
        task: "segmentation" or "classification".
        output: the written picture; None for a classifier.
        faces: boxes of the faces found, the one that was parsed first; empty when none was looked for.
        share: share of the photograph's pixels per label (segmentation).
        top: (label, probability) of the most probable classes, in falling order (classification).
        milliseconds: per stage, and their "total".
    """

    task: str
    output: Path | None
    faces: tuple[Box, ...]
    share: dict[str, float]
    top: tuple[tuple[str, float], ...]
    milliseconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """For `predict --json`: `box` is [x, y, width, height] in pixels or null."""
        box = self.faces[0] if self.faces else None
        return {
            "task": self.task,
            "output": str(self.output) if self.output else None,
            "box": [box.x, box.y, box.width, box.height] if box else None,
            "faces": len(self.faces),
            "share": self.share,
            "top": [{"label": label, "probability": probability} for label, probability in self.top],
            "milliseconds": self.milliseconds,
        }


def predict(
    artifact: Path | str,
    image: Path | str,
    output: Path | str | None = None,
    whole: bool = False,
    threads: int | None = None,
    alpha: float = ALPHA,
) -> Prediction:
    """Run a model file with its sidecar on one photograph.

    Args:
        artifact: a model file that `toolchain export` wrote.
        image: the photograph.
        output: where the overlay goes; None for `NAME-overlay.png` in the current folder.
        whole: parse the whole picture, without looking for a face.
        threads: threads of one operator; None is the runtime's default.
        alpha: opacity of the overlay, 0-1.

    Raises:
        UsageError: a file cannot be read or written.
        UnsupportedError: there is no face, or the network takes no pictures.
    """
    if not Path(artifact).exists():
        raise UsageError(f"no model file at '{artifact}'", "`toolchain export` writes one")
    described = load_sidecar(artifact)
    if described.task not in (SEGMENTATION, CLASSIFICATION) or described.preprocess is None:
        raise UnsupportedError(
            f"'{artifact}' has the task '{described.task}' and "
            f"{'a' if described.preprocess else 'no'} picture as input; prediction needs a segmentation "
            "or a classification of pictures",
            "run it on arrays: toolchain.load(path).run({name: array})",
        )
    if described.task == CLASSIFICATION:
        picture = read_picture(image)
        with load(artifact, threads=threads) as runtime:
            return _classify(described, runtime, picture)
    target = Path(output) if output is not None else Path(f"{Path(image).stem}{SUFFIX}")
    check_writable(target)
    if target.exists() and Path(image).exists() and target.samefile(image):
        raise UsageError(f"'{target}' is the photograph itself", "choose another name with -o")
    picture = read_picture(image)
    with load(artifact, threads=threads) as runtime:
        return _segment(FaceParser(runtime, described), picture, image, target, whole, alpha)


def _segment(
    parser: FaceParser, picture: np.ndarray, image: Path | str, target: Path, whole: bool, alpha: float
) -> Prediction:
    contract, stages = parser.contract, Stages()
    faces: list[Box] = []
    square = whole_square(*picture.shape[:2])
    if not whole:
        with stages.measure("detection"):
            faces = _faces(contract, picture, image)
        square = face_square(faces[0], contract.preprocess.margin, contract.preprocess.shift)
    parsed = parser.parse(picture, square, stages)
    with stages.measure("colorization"):
        drawn = colorize(picture, parsed.labels, contract.palette, alpha)
    write_picture(target, drawn)
    counts = np.bincount(parsed.labels.ravel(), minlength=len(contract.labels)) / parsed.labels.size
    return Prediction(
        task=SEGMENTATION,
        output=target,
        faces=tuple(faces),
        share={label: round(float(count), 6) for label, count in zip(contract.labels, counts, strict=True)},
        top=(),
        milliseconds=_rounded(stages),
    )


def _faces(contract: Contract, picture: np.ndarray, image: Path | str) -> list[Box]:
    if not contract.is_face:
        raise UnsupportedError("this network does not parse faces", "take the whole picture with --whole")
    faces = detector(thorough=True).detect(picture)
    if not faces:
        raise UnsupportedError(
            f"no face was found in '{image}'",
            "give a picture with an upright frontal face, or take the whole picture with --whole",
        )
    return faces


def _classify(artifact: Artifact, runtime: Runtime, picture: np.ndarray) -> Prediction:
    check_runtime(runtime, artifact)
    image, scores, preprocess = artifact.inputs[0], artifact.outputs[0], artifact.preprocess
    assert preprocess is not None
    _, height, width = picture_sizes(image)
    classes = int(np.prod(scores.shape))
    if len(artifact.inputs) != 1 or height != width or len(artifact.labels) not in (0, classes):
        raise UnsupportedError(
            f"'{artifact.path}' has {len(artifact.inputs)} inputs of {height} x {width} and {classes} scores "
            f"for {len(artifact.labels)} labels",
            "a classifier takes one square picture and gives one score per label",
        )
    stages = Stages()
    with stages.measure("crop"):
        matrix = crop_matrix(central_square(*picture.shape[:2]), height)
        cut = crop(picture, matrix, height, preprocess.resize)
        arrays = {image.name: picture_input(cut, preprocess, image)}
    with stages.measure("inference"):
        result = runtime.run(arrays)
    probabilities = _probabilities(dequantized(result[scores.name], scores).ravel())
    labels = artifact.labels or tuple(f"class {index}" for index in range(classes))
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    return Prediction(
        task=CLASSIFICATION,
        output=None,
        faces=(),
        share={},
        top=tuple((labels[index], float(probabilities[index])) for index in order),
        milliseconds=_rounded(stages),
    )


def _probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax of logits; what a network with a softmax of its own gives is left as it is."""
    done = bool((scores >= 0).all()) and abs(float(scores.sum()) - 1) < SUM_TOLERANCE
    return scores if done else softmax(scores)


def _rounded(stages: Stages) -> dict[str, float]:
    total = sum(stages.milliseconds.values())
    return {stage: round(value, 3) for stage, value in {**stages.milliseconds, "total": total}.items()}
