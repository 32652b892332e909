"""Golden cases of the engine: which regions are parsed in which order, who is followed, when a detector runs.

The engine itself makes the answers. What its masks would say is told to it: the first answer of a frame
belongs to the first region that is parsed in it, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import RegressionError
from toolchain.face.engine import PATIENCE, FaceEngine
from toolchain.face.golden_cases import case
from toolchain.face.region import Box, Square, face_square
from toolchain.face.tracking import MaskFace, MaskReader
from toolchain.runtimes import Runtime
from toolchain.spec import SEGMENTATION, Artifact, Preprocess, TensorSpec

LABELS = ("background", "skin", "nose")
PREPROCESSING = {"margin": 1.56, "shift": -0.08}
SHAPE = (480, 640)
SIZE = 8
DOUBT = "the mask reaches the edge of the region or of the picture"
LOST = "the mask shows hardly any face"


class ToldReader(MaskReader):
    """Says what it is told, and keeps which regions it was asked about."""

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__(LABELS)
        self.answers: list[MaskFace] = []
        self.parsed: list[Square] = []
        self._preprocess = preprocess

    def read(
        self, probabilities: np.ndarray, matrix: np.ndarray, box: Box, shape: tuple[int, ...]
    ) -> MaskFace:
        """The next answer, whatever the mask shows."""
        self.parsed.append(face_square(box, self._preprocess.margin, self._preprocess.shift).whole())
        if not self.answers:
            raise _other_answers("fewer")
        return self.answers.pop(0)


class ToldDetector:
    """Finds what it is told."""

    name = "told"
    boxes: Sequence[Box] = ()

    def detect(self, picture: np.ndarray) -> list[Box]:
        """The boxes of this frame, whatever the picture shows."""
        return list(self.boxes)


class EvenRuntime(Runtime):
    """All classes are as probable; keeps whether there was a mask of the picture before."""

    def __init__(self, artifact: Artifact) -> None:
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self.previous: list[bool] = []

    def _execute(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.previous.append(bool(arrays["previous"].any()))
        return {"logits": np.zeros(self.outputs[0].shape, np.float32)}

    def _release(self) -> None:
        pass


def engine_cases() -> list[dict[str, Any]]:
    """All cases of engine.json."""
    return [
        case(
            "sequence", _sequence, name,
            preprocessing=PREPROCESSING, shape=list(SHAPE), faces=faces, redetect=redetect, frames=frames,
        )
        for name, faces, redetect, frames in _sequences()
    ]  # fmt: skip


def _answer(x: float, y: float, side: float = 100.0, lost: str = "", doubt: str = "") -> dict[str, Any]:
    confidence = 0.0 if lost else 0.96875
    return {"box": Box(x, y, side, side), "confidence": confidence, "lost": lost, "doubt": doubt}


def _frame(
    *answers: dict[str, Any], found: Sequence[tuple[float, float, float]] = (), cut: bool = False
) -> dict[str, Any]:
    boxes = [Box(x, y, side, side) for x, y, side in found]
    return {"cut": cut, "detections": boxes, "answers": list(answers)}


def _sequences() -> list[tuple[str, int, int | None, list[dict[str, Any]]]]:
    here = (200.0, 150.0, 100.0)
    there = (400.0, 150.0, 100.0)
    begun = _frame(_answer(203.0, 152.0, 96.0), found=[here])
    doubt = _answer(203.0, 152.0, 96.0, doubt=DOUBT)
    gone = _answer(200.0, 150.0, lost=LOST)
    two = _frame(_answer(*here), _answer(*there), found=[here, there])
    return [
        ("no face until one is found", 1, None, [_frame(), _frame(), begun, _frame(_answer(*here))]),
        ("followed with the detector's correction, the region moves when it must", 1, None,
         [begun, *(_frame(_answer(203.0 + 5 * step, 152.0 + 2 * step, 96.0)) for step in range(1, 9))]),
        ("a face that comes nearer, between pixels", 1, None,
         [begun, *(_frame(_answer(203.3 - 4.1 * k, 152.4 - 3.7 * k, 96 + 9.3 * k)) for k in range(7))]),
        ("a mask without a face ends the track, and the detector runs in the same frame", 1, None,
         [begun, _frame(gone, _answer(310.0, 150.0), found=[(305.0, 150.0, 100.0)]),
          _frame(_answer(310.0, 150.0))]),
        ("gone for good", 1, None, [begun, _frame(gone), _frame(), _frame()]),
        ("a detector that is wrong: the masks decide, one more box is tried", 1, None,
         [_frame(gone, _answer(*there), found=[here, there])]),
        ("no more than one further box is tried", 1, None,
         [_frame(gone, gone, found=[here, there, (20.0, 300.0, 90.0)])]),
        ("doubt asks the detector once, and again after so many frames of patience", 1, None,
         [begun, *(_frame(doubt) for _ in range(PATIENCE + 3))]),
        ("doubt where the detector agrees: no second look, a new correction", 1, None,
         [begun, _frame(doubt, found=[(206.0, 151.0, 104.0)]), _frame(_answer(203.0, 152.0, 96.0))]),
        ("doubt where the face is elsewhere: parsed again there", 1, None,
         [begun, _frame(doubt, _answer(228.0, 160.0), found=[(230.0, 160.0, 100.0)]),
          _frame(_answer(229.0, 160.0))]),
        ("doubt, and the second look finds nothing: dropped, the next box begins", 1, None,
         [begun, _frame(doubt, gone, _answer(*there), found=[(230.0, 160.0, 100.0), there])]),
        ("two faces keep their numbers", 2, None,
         [two, _frame(_answer(204.0, 150.0), _answer(396.0, 152.0)), _frame(gone, _answer(396.0, 152.0)),
          _frame(_answer(396.0, 152.0))]),
        ("two tracks of one face end as one, the longer known stays", 2, None,
         [two, _frame(_answer(290.0, 150.0), _answer(300.0, 150.0)), _frame(_answer(292.0, 150.0))]),
        ("further faces are looked for every three frames", 2, 3,
         [_frame(_answer(*here), found=[here]), _frame(_answer(*here)), _frame(_answer(*here)),
          _frame(_answer(*here), _answer(*there), found=[here, there]),
          _frame(_answer(*here), _answer(*there)), _frame(_answer(*here), _answer(*there)),
          _frame(_answer(*here), _answer(*there)), _frame(_answer(*here), _answer(*there))]),
        ("a cut: another face in the old region gives way to the one that is found", 1, None,
         [begun, _frame(_answer(210.0, 150.0), _answer(*there), found=[there], cut=True),
          _frame(_answer(*there))]),
        ("a cut to the same face: a new correction", 1, None,
         [begun, _frame(_answer(203.0, 152.0, 96.0), found=[(206.0, 151.0, 104.0)], cut=True),
          _frame(_answer(203.0, 152.0, 96.0))]),
        ("a cut to a face half beside the region: parsed again there", 1, None,
         [begun,
          _frame(_answer(203.0, 152.0, 96.0), _answer(228.0, 160.0), found=[(230.0, 160.0, 100.0)], cut=True),
          _frame(_answer(229.0, 160.0))]),
        ("a cut, and nothing is found, or no face where the detector says so: followed on", 1, None,
         [begun, _frame(_answer(210.0, 150.0), cut=True),
          _frame(_answer(210.0, 150.0), gone, found=[there], cut=True), _frame(_answer(210.0, 150.0))]),
        ("a cut while two faces are followed: one is found again, one elsewhere", 2, None,
         [two, _frame(_answer(*here), _answer(*there), _answer(300.0, 300.0),
                      found=[there, (300.0, 300.0, 100.0)], cut=True),
          _frame(_answer(*there), _answer(300.0, 300.0))]),
        ("a face at the edge: the region reaches beyond the picture", 1, None,
         [_frame(_answer(-30.0, 420.0, doubt=DOUBT), found=[(-28.0, 418.0, 100.0)]),
          _frame(_answer(-30.0, 420.0, doubt=DOUBT))]),
    ]  # fmt: skip


def _sequence(
    preprocessing: dict[str, float], shape: list[int], faces: int, redetect: int | None, frames: list[Any]
) -> dict[str, Any]:
    preprocess = Preprocess(margin=preprocessing["margin"], shift=preprocessing["shift"])
    artifact = _artifact(preprocess)
    runtime, detector, reader = EvenRuntime(artifact), ToldDetector(), ToldReader(preprocess)
    engine = FaceEngine(runtime, artifact, detector, faces, redetect)
    engine._reader = reader
    picture = np.zeros((*shape, 3), np.uint8)
    made = []
    for frame in frames:
        if frame["cut"]:
            picture = 255 - picture
        reader.answers = [MaskFace(**answer) for answer in frame["answers"]]
        reader.parsed, runtime.previous, detector.boxes = [], [], frame["detections"]
        parsed = engine.process(picture)
        if reader.answers:
            raise _other_answers("more")
        found = [{"number": f.number, "box": f.box, "confidence": f.confidence} for f in parsed.faces]
        made.append(
            {
                "detected": parsed.detected,
                "parsed": reader.parsed,
                "previous": runtime.previous,
                "faces": found,
            }
        )
    return {"frames": made}


def _other_answers(how_many: str) -> RegressionError:
    """A sequence whose answers are not all asked for does not show what its name says."""
    return RegressionError(
        f"a sequence of the golden engine has {how_many} answers than the engine asks for",
        "if the engine is meant to follow faces otherwise, change toolchain/face/golden_engine.py",
    )


def _artifact(preprocess: Preprocess) -> Artifact:
    def tensor(name: str, channels: int) -> TensorSpec:
        return TensorSpec(name, (1, channels, SIZE, SIZE), layout="NCHW")

    return Artifact(
        path=Path("told"),
        format="onnx",
        precision="fp32",
        name="told",
        task=SEGMENTATION,
        inputs=(tensor("image", 3), tensor("previous", len(LABELS))),
        outputs=(tensor("logits", len(LABELS)),),
        preprocess=preprocess,
        labels=LABELS,
        palette=((0, 0, 0),) * len(LABELS),
    )
