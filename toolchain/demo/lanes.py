"""The networks of a demo: one leads with its own tracking, another may follow it on the same faces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.detector import FaceDetector
from toolchain.face.detectors import open_detector
from toolchain.face.effects import Face
from toolchain.face.engine import FaceEngine, ParsedFrame
from toolchain.face.parse import Contract, FaceParser, Stages, contract_of
from toolchain.face.region import Box, Square, face_square, unwarp_labels
from toolchain.publish import require_own
from toolchain.runtimes import Runtime, load
from toolchain.runtimes.coreml import CoreMLNativeRuntime, CoreMLRuntime
from toolchain.runtimes.litert import INTERPRETERS, PACKAGES, LiteRTRuntime
from toolchain.runtimes.onnx_runtime import OnnxRuntime
from toolchain.spec import Artifact, load_sidecar
from toolchain.versions import version_of

SHOWN = {"litert": "LiteRT"}
# With several faces wanted, newcomers are looked for every so many frames.
REDETECT = 30
# Small networks gain little from more.
MOST_THREADS = 4


@dataclass
class Network:
    """A face parser's file, loaded.

    Attributes:
        runtime: stays open until `close`.
        artifact: its sidecar.
        title: runtime with its version, for the screen.
        label: the file's name, for the screen; with a folder where it takes one to tell two files apart.
    """

    runtime: Runtime
    artifact: Artifact
    title: str
    label: str

    @classmethod
    def open(cls, path: Path, threads: int | None = None, label: str | None = None) -> Network:
        """Load a file with its sidecar.

        Args:
            path: the file.
            threads: of one operator; None for the runtime's default.
            label: see above; None for the name alone.

        Raises:
            UsageError: there is no such file, no sidecar beside it, or that of another file.
            UnsupportedError: the file is damaged, or no face parser.
            MissingDependencyError: what runs it is not installed.
        """
        hint = "`toolchain export mobile-hourglass` writes one"
        if not path.exists():
            raise UsageError(f"no model file at '{path}'", hint)
        if path.is_dir() and not path.suffix:
            raise UsageError(f"'{path}' is a folder, not a model file", hint)
        artifact = load_sidecar(path)
        if not contract_of(artifact).is_face:
            raise UnsupportedError(
                f"'{path}' does not parse faces", "give a face parser, such as mobile-hourglass"
            )
        runtime = load(path, threads=threads)
        # Only now: of a file that is cut off this would say less than the runtime does.
        try:
            require_own(artifact, path)
        except UsageError:
            runtime.close()
            raise
        return cls(runtime, artifact, runtime_title(runtime), path.name if label is None else label)

    @property
    def name(self) -> str:
        """For the screen: file and runtime."""
        return f"{self.label}  {self.artifact.precision}  {self.title}"

    def as_json(self) -> dict[str, str]:
        """For `demo --json`."""
        return {
            "path": str(self.artifact.path),
            "precision": self.artifact.precision,
            "runtime": self.title,
        }

    def close(self) -> None:
        """Release the network."""
        self.runtime.close()


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The files' names; where two files have the same one, with as many of their folders as tell them apart.

    A file that is given twice has the same name twice.
    """
    places = [Path(os.path.abspath(path)).parts for path in paths]
    count = 1
    while len({place[-count:] for place in places}) < len(set(places)):
        count += 1
    return [str(Path(*place[-count:])) for place in places]


def runtime_title(runtime: Runtime) -> str:
    """Name and version of what runs a network."""
    if isinstance(runtime, LiteRTRuntime):
        module = type(runtime._interpreter).__module__.split(".")[0]
        found = next((name for name, place in INTERPRETERS.items() if place.split(".")[0] == module), module)
        return f"{SHOWN.get(found, found)} {version_of(PACKAGES.get(found, found)) or ''}".strip()
    if isinstance(runtime, OnnxRuntime):
        return f"ONNX Runtime {version_of('onnxruntime') or ''}".strip()
    if isinstance(runtime, CoreMLRuntime):
        return "Core ML reference interpreter"
    return "Core ML" if isinstance(runtime, CoreMLNativeRuntime) else type(runtime).__name__


@dataclass(frozen=True)
class Parsed:
    """A frame as one network sees it.

    Attributes:
        faces: for the effects; hold until the next frame.
        labels: (height, width) uint8; hold until the next frame.
    """

    faces: tuple[Face, ...]
    labels: np.ndarray


class Leader:
    """Finds, follows and parses faces. Not to be shared between threads.

    Args:
        network: stays the caller's to close.
        detector: a model file, as for `open_detector`; None for OpenCV's cascade.
        faces: how many faces are followed at most.
        threads: of one operator, for the detector.
        thorough: look harder for faces, for stills; only the cascade knows the difference.
    """

    def __init__(
        self,
        network: Network,
        detector: Path | None = None,
        faces: int = 1,
        threads: int | None = None,
        thorough: bool = False,
    ) -> None:
        self.network = network
        found = FaceDetector(thorough) if detector is None else open_detector(detector, threads)
        redetect = REDETECT if faces > 1 else None
        self._engine = FaceEngine(network.runtime, network.artifact, found, faces, redetect)

    @property
    def contract(self) -> Contract:
        """What the sidecar says."""
        return self._engine.contract

    def reset(self) -> None:
        """The next frame is the first of another video."""
        self._engine.reset()

    def process(self, picture: np.ndarray, stages: Stages) -> tuple[ParsedFrame, Parsed]:
        """Parse the next frame; arguments and errors as for `FaceEngine.process`."""
        frame = self._engine.process(picture, stages)
        contract = self._engine.contract
        faces = tuple(
            Face(face.probabilities, face.matrix, contract.labels, contract.palette) for face in frame.faces
        )
        return frame, Parsed(faces, frame.labels)


class Follower:
    """Parses the faces that another network follows, each with its own previous mask.

    Args:
        network: stays the caller's to close.
        leader: contract of the network that finds the faces.

    Raises:
        UsageError: the two have different classes, so that their labels cannot be compared.
    """

    def __init__(self, network: Network, leader: Contract) -> None:
        self.network = network
        self.contract = contract_of(network.artifact)
        if self.contract.labels != leader.labels:
            raise UsageError(
                f"'{network.artifact.path}' has other classes than the file beside it",
                "compare two files of one network",
            )
        self._leader = leader
        self._parsers: dict[int, FaceParser] = {}
        self._idle = [FaceParser(network.runtime, network.artifact, reuse=True)]
        self._labels = np.empty((0, 0), np.uint8)

    def reset(self) -> None:
        """The next frame is the first of another video."""
        self._idle += self._parsers.values()
        self._parsers = {}

    def process(self, picture: np.ndarray, led: ParsedFrame, stages: Stages) -> Parsed:
        """Parse the same frame.

        Args:
            picture: (height, width, 3) RGB uint8.
            led: what the leader made of it.
            stages: where to add the times of "crop", "inference" and "unwarp".
        """
        if self._labels.shape != picture.shape[:2]:
            self._labels = np.empty(picture.shape[:2], np.uint8)
        self._labels.fill(0)
        for number in set(self._parsers) - {face.number for face in led.faces}:
            self._idle.append(self._parsers.pop(number))
        faces = []
        for face in led.faces:
            square = square_like(face.matrix, self._leader, self.contract)
            probabilities, matrix = self._parser(face.number).infer(picture, square, stages)
            with stages.measure("unwarp"):
                unwarp_labels(probabilities, matrix, picture.shape, self._labels)
            faces.append(Face(probabilities, matrix, self.contract.labels, self.contract.palette))
        return Parsed(tuple(faces), self._labels)

    def _parser(self, number: int) -> FaceParser:
        if number not in self._parsers:
            new = self._idle.pop() if self._idle else None
            if new is None:
                new = FaceParser(self.network.runtime, self.network.artifact, reuse=True)
            new.reset()
            self._parsers[number] = new
        return self._parsers[number]


def square_like(matrix: np.ndarray, leader: Contract, own: Contract) -> Square:
    """The region that a network wants of the face in the leader's crop."""
    scale = float(matrix[0, 0])
    side = leader.size / scale
    left, top = (0.5 - (float(matrix[axis, 2]) + 0.5) / scale for axis in (0, 1))
    unit = side / leader.preprocess.margin
    middle = left + side / 2, top + side / 2 - leader.preprocess.shift * unit
    box = Box(middle[0] - unit / 2, middle[1] - unit / 2, unit, unit)
    return face_square(box, own.preprocess.margin, own.preprocess.shift)


def default_threads() -> int:
    """Threads of one operator for live video: those that this process may use, MOST_THREADS at most."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_THREADS, allowed)
