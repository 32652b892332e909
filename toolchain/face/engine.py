"""Frames in, parsed faces out: a detector where no face is known, the previous mask where one is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.detectors import Detector
from toolchain.face.parse import Contract, FaceParser, Stages, contract_of
from toolchain.face.picture import check_picture
from toolchain.face.region import Box, face_square, unwarp_labels
from toolchain.face.tracking import Correction, HeldBox, MaskFace, MaskReader, overlap
from toolchain.runtimes import Runtime
from toolchain.spec import Artifact

# A detector that looked at a doubtful face is not asked again for so many frames.
PATIENCE = 10
# How many boxes beyond those that are wanted are tried when masks show no face in some.
FURTHER_TRIES = 1
# Two boxes are of one face from this intersection over union on; two tracks of one face end as one.
SAME_FACE, DOUBLE = 0.3, 0.5


@dataclass(frozen=True)
class TrackedFace:
    """A face in a frame.

    Attributes:
        number: the same for the same face as long as it is followed.
        box: as the detector draws it, in pixels of the picture.
        probabilities: (classes, size, size) float32 of the crop; holds until the next frame.
        matrix: (2, 3), picture to crop.
        confidence: mean probability (0-1) of "face" over the pixels where it is likely.
    """

    number: int
    box: Box
    probabilities: np.ndarray
    matrix: np.ndarray
    confidence: float


@dataclass(frozen=True)
class ParsedFrame:
    """A frame.

    Attributes:
        faces: the longest known first; empty when none was found.
        labels: (height, width) uint8, class of every pixel; holds until the next frame.
        detected: whether the detector ran.
    """

    faces: tuple[TrackedFace, ...]
    labels: np.ndarray
    detected: bool


class _Track:
    """One face over time."""

    def __init__(self, box: Box, parser: FaceParser) -> None:
        self.number = 0
        self.parser = parser
        self.held = HeldBox(box)
        self.box = box
        self.correction: Correction | None = None
        self.seen = MaskFace(box, 0.0)
        self.probabilities = self.matrix = np.empty(0)
        self.wait = 0

    def parse(self, picture: np.ndarray, reader: MaskReader, stages: Stages) -> None:
        """Parse the region and look where the mask says that the face is."""
        preprocess = self.parser.contract.preprocess
        square = face_square(self.held.box, preprocess.margin, preprocess.shift).whole()
        self.probabilities, self.matrix = self.parser.infer(picture, square, stages)
        with stages.measure("detection"):
            self.seen = reader.read(*self.parser.overview, self.held.box, picture.shape)
            if not self.seen.lost:
                self.box = (self.correction or Correction()).applied(self.seen.box)

    def correct(self, detected: Box) -> None:
        """Learn from a detection in the frame that was just parsed."""
        self.correction = Correction.between(self.seen.box, detected)
        self.box = self.correction.applied(self.seen.box)

    def result(self) -> TrackedFace:
        return TrackedFace(self.number, self.box, self.probabilities, self.matrix, self.seen.confidence)


class FaceEngine:
    """Finds, follows and parses the faces of a video. Not to be shared between threads.

    Args:
        runtime: the loaded file of a face parser; stays the caller's to close.
        artifact: its sidecar.
        detector: finds faces where none is known; stays the caller's.
        faces: how many faces are followed at most, the largest first.
        redetect: look for further faces every so many frames; None for never while one is followed. With a
            single face there is nothing to look for.

    Raises:
        UsageError: a count below one.
        UnsupportedError: the file is no face parser, or the sidecar is not its own.
    """

    def __init__(
        self,
        runtime: Runtime,
        artifact: Artifact,
        detector: Detector,
        faces: int = 1,
        redetect: int | None = None,
    ) -> None:
        for name, value in (("faces", faces), ("redetect", redetect)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        self.contract: Contract = contract_of(artifact)
        if not self.contract.is_face:
            raise UnsupportedError(
                f"'{artifact.path}' does not parse faces", "give a face parser, such as mobile-hourglass"
            )
        self._runtime, self._artifact, self._detector = runtime, artifact, detector
        self._faces, self._redetect = faces, redetect
        self._reader = MaskReader(self.contract.labels)
        # Parsers of faces that have gone; their buffers are used again.
        self._idle = [FaceParser(runtime, artifact, reuse=True)]
        self._tracks: list[_Track] = []
        self._numbers = count(1)
        self._since = 0
        self._labels = np.empty((0, 0), np.uint8)

    def reset(self) -> None:
        """Forget all faces: the next frame is the first one of another video."""
        self._drop(list(self._tracks))
        self._since = 0

    def process(self, picture: np.ndarray, stages: Stages | None = None) -> ParsedFrame:
        """Parse the next frame.

        Faces that are known are parsed where they were. The detector runs when there is none, when a mask
        shows that its face is gone or leaves its region, when the picture is another, as after a cut, and
        every `redetect` frames; a face that it finds is parsed in this same frame.

        Args:
            picture: (height, width, 3) RGB uint8; frames of one video have one size.
            stages: where to add the times of "detection" (by detector and by mask), "crop", "inference" and
                "unwarp".

        Raises:
            UsageError: `picture` is no such array.
            UnsupportedError: the network's output is not finite.
        """
        check_picture(picture)
        stages = stages or Stages()
        for track in self._tracks:
            track.parse(picture, self._reader, stages)
        self._drop([track for track in self._tracks if track.seen.lost])
        detected = self._is_due()
        if detected:
            self._detect(picture, stages)
        self._drop_doubles()
        with stages.measure("unwarp"):
            labels = self._empty_labels(picture)
            for track in self._tracks:
                unwarp_labels(
                    track.probabilities, track.matrix, labels.shape, labels, track.parser.block_means
                )
        found = tuple(track.result() for track in self._tracks)
        for track in self._tracks:
            track.held.follow(track.box)
        return ParsedFrame(found, labels, detected)

    def _is_due(self) -> bool:
        self._since += 1
        doubtful = False
        for track in self._tracks:
            track.wait = max(0, track.wait - 1)
            doubtful |= track.parser.cut or (bool(track.seen.doubt) and track.wait == 0)
        wanted = (
            self._redetect is not None and self._since >= self._redetect and len(self._tracks) < self._faces
        )
        return not self._tracks or doubtful or wanted

    def _detect(self, picture: np.ndarray, stages: Stages) -> None:
        self._since = 0
        with stages.measure("detection"):
            boxes = self._detector.detect(picture)
        stale = []
        for track in list(self._tracks):
            place = track.box
            match = max(boxes, key=partial(overlap, place), default=None)
            if match is not None and overlap(match, track.box) >= SAME_FACE:
                boxes.remove(match)
                self._look_again(track, match, picture, stages)
            elif track.parser.cut:
                stale.append(track)
            if track.seen.doubt:
                track.wait = PATIENCE
            if track.seen.lost:
                self._drop([track])
        # What lies in an old region after a cut gives way to a face that the detector finds in the new shot.
        if self._begin_in(boxes, self._faces - len(self._tracks) + len(stale), picture, stages):
            self._drop(stale)

    def _begin_in(self, boxes: list[Box], most: int, picture: np.ndarray, stages: Stages) -> int:
        """Follow faces in boxes of a detector; says how many."""
        begun = 0
        # A detector may be wrong; where the mask shows no face there is none.
        for box in boxes[: most + FURTHER_TRIES]:
            if begun < most:
                begun += self._begin(picture, box, stages)
        return begun

    def _begin(self, picture: np.ndarray, box: Box, stages: Stages) -> bool:
        track = _Track(box, self._parser())
        track.parse(picture, self._reader, stages)
        if track.seen.lost:
            self._idle.append(track.parser)
            return False
        track.number = next(self._numbers)
        track.correct(box)
        self._tracks.append(track)
        return True

    def _look_again(self, track: _Track, box: Box, picture: np.ndarray, stages: Stages) -> None:
        """A detector saw a face that is followed: doubtful ones are parsed again where it is."""
        if (track.seen.doubt or track.parser.cut) and track.held.is_off(box):
            track.held = HeldBox(box)
            track.parse(picture, self._reader, stages)
        if not track.seen.lost:
            track.correct(box)

    def _drop_doubles(self) -> None:
        doubles = [
            later
            for index, later in enumerate(self._tracks)
            if any(overlap(later.box, earlier.box) > DOUBLE for earlier in self._tracks[:index])
        ]
        self._drop(doubles)

    def _drop(self, tracks: list[_Track]) -> None:
        for track in tracks:
            self._tracks.remove(track)
            self._idle.append(track.parser)

    def _parser(self) -> FaceParser:
        if not self._idle:
            return FaceParser(self._runtime, self._artifact, reuse=True)
        parser = self._idle.pop()
        parser.reset()
        return parser

    def _empty_labels(self, picture: np.ndarray) -> np.ndarray:
        if self._labels.shape != picture.shape[:2]:
            self._labels = np.empty(picture.shape[:2], np.uint8)
        self._labels.fill(0)
        return self._labels
