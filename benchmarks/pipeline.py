"""The whole way of a frame: detection, crop, inference, un-warp and colorization, each timed apart.

Frames are decoded and brought to size before the measurement and kept in memory; neither is part of any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from toolchain.benchmarks.environment import load_average
from toolchain.benchmarks.harness.contender import TOTAL
from toolchain.benchmarks.harness.contenders import runtime_label
from toolchain.benchmarks.harness.figures import stage_figures
from toolchain.benchmarks.harness.files import measured_file
from toolchain.benchmarks.harness.host import host_results
from toolchain.benchmarks.harness.measure import Options, measure
from toolchain.benchmarks.harness.results import PIPELINE, Entry, MeasuredFile, Results
from toolchain.errors import UnsupportedError, UsageError
from toolchain.face.colorize import colorize
from toolchain.face.detectors import open_detector
from toolchain.face.effects import Face, effect
from toolchain.face.engine import FaceEngine, ParsedFrame
from toolchain.face.parse import Stages
from toolchain.face.source import Source, fitted
from toolchain.runtimes import Runtime, load
from toolchain.spec import load_sidecar

STAGES = ("detection", "crop", "inference", "unwarp", "colorization")
MOST_FRAMES, MOST_BYTES = 600, 512_000_000
FLAT = "mask"
MS = 1e3


@dataclass(frozen=True)
class Frames:
    """Frames in memory.

    Attributes:
        pictures: (height, width, 3) RGB uint8 each, all of one size.
        source: as the user named it.
    """

    pictures: tuple[np.ndarray, ...]
    source: str

    def as_settings(self) -> dict[str, Any]:
        """For `Results.settings`."""
        height, width = self.pictures[0].shape[:2]
        return {
            "source": self.source,
            "frames": len(self.pictures),
            "size": [width, height],
            "decoding": "before the measurement, part of no time",
        }


def take_frames(source: Source, size: tuple[int, int] | None = None, most: int | None = None) -> Frames:
    """Decode frames into memory.

    Args:
        source: where they come from.
        size: width and height that they are fitted into; None for that of the first frame.
        most: how many at most, from the first; None for as many as MOST_FRAMES and MOST_BYTES allow.

    Raises:
        UsageError: the source cannot be read, or has no frames.
        UnsupportedError: it ends early.
    """
    if most is not None and most < 1:
        raise UsageError(f"frames must be at least 1, not {most}")
    taken: list[np.ndarray] = []
    frames = source.frames()
    try:
        for picture in frames:
            size = size or (picture.shape[1], picture.shape[0])
            taken.append(fitted(picture, size))
            allowed = max(1, min(MOST_FRAMES, MOST_BYTES // taken[0].nbytes)) if most is None else most
            if len(taken) >= allowed:
                break
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()
    if not taken:
        raise UsageError(f"'{source.name}' has no frames", "give a source with at least one")
    return Frames(tuple(taken), source.name)


class PipelineContender:
    """The face engine with one model file; its work is one frame, round and round.

    After the last frame comes the first one of another video: every round begins with a detection.

    Args:
        name: unique among the contenders.
        path: a face parser's file with its sidecar.
        frames: what it works on.
        threads: of one operator; None is the runtime's default.
        detector: as for `open_detector`.
        effect_name: what is drawn: the flat colours of "mask", or any other name of an effect.
        faces: how many faces are followed at most.

    Attributes:
        runtime: name, version and delegate; known after `load`.
        seen: frames so far, those on which the detector ran, on which a face was followed without it, and
            those with a face.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        frames: Frames,
        threads: int | None = None,
        detector: Path | None = None,
        effect_name: str = FLAT,
        faces: int = 1,
    ) -> None:
        self.name = name
        self.threads = threads
        self.file: MeasuredFile = measured_file(path)
        self.runtime = self.detector = ""
        self.seen = {"frames": 0, "detected": 0, "tracked": 0, "with_face": 0}
        self._path, self._frames, self._detector_path, self._faces = path, frames, detector, faces
        self._effect = effect(effect_name) if effect_name != FLAT else None
        self._next = 0
        self._loaded: Runtime | None = None
        self._engine: FaceEngine | None = None
        self._drawn = np.empty_like(frames.pictures[0])
        self._stages = Stages()

    def load(self) -> None:
        """Open the file and the detector.

        Raises:
            UsageError: a file is not there.
            UnsupportedError: the file is no face parser, or the detector none.
        """
        self._loaded = load(self._path, threads=self.threads)
        found = open_detector(self._detector_path, self.threads)
        self._engine = FaceEngine(self._loaded, load_sidecar(self._path), found, self._faces)
        self.runtime, self.detector = runtime_label(self._loaded), found.name

    def run(self) -> dict[str, float]:
        """Process the next frame.

        Raises:
            UnsupportedError: all frames have been seen, and none has a face.
        """
        assert self._engine is not None
        stages = self._stages
        stages.milliseconds = dict.fromkeys(STAGES, 0.0)
        picture = self._frames.pictures[self._next]
        if self._next == 0:
            self._engine.reset()
        self._next = (self._next + 1) % len(self._frames.pictures)
        parsed = self._engine.process(picture, stages)
        with stages.measure("colorization"):
            self._draw(picture, parsed)
        self._count(parsed)
        return stages.milliseconds

    def close(self) -> None:
        """Release the network."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = self._engine = None

    def shares(self) -> dict[str, float]:
        """Shares (0-1) of the frames so far, warm-up included: `detected`, `tracked`, `with_face`."""
        frames = max(1, self.seen["frames"])
        return {name: round(self.seen[name] / frames, 6) for name in ("detected", "tracked", "with_face")}

    def check_face(self) -> None:
        """Raises UnsupportedError when no frame had a face: there would be nothing to measure."""
        if self.seen["with_face"] == 0:
            raise UnsupportedError(
                f"no face was found in {min(self.seen['frames'], len(self._frames.pictures))} frames of "
                f"'{self._frames.source}'",
                "give a source that shows an upright frontal face, more --frames, or another --detector",
            )

    def _draw(self, picture: np.ndarray, parsed: ParsedFrame) -> None:
        assert self._engine is not None
        contract = self._engine.contract
        if self._effect is None:
            colorize(picture, parsed.labels, contract.palette, out=self._drawn)
            return
        faces = [
            Face(face.probabilities, face.matrix, contract.labels, contract.palette) for face in parsed.faces
        ]
        self._effect.apply(picture, faces, None, None, self._drawn)

    def _count(self, parsed: ParsedFrame) -> None:
        self.seen["frames"] += 1
        self.seen["detected"] += parsed.detected
        self.seen["with_face"] += bool(parsed.faces)
        self.seen["tracked"] += bool(parsed.faces) and not parsed.detected
        if self._next == 0:
            self.check_face()


def measure_pipelines(
    artifacts: Sequence[Path],
    frames: Frames,
    options: Options,
    command: Sequence[str],
    detector: Path | None = None,
    effect_name: str = FLAT,
    faces: int = 1,
    on_stage: Callable[[str], None] = lambda _stage: None,
) -> Results:
    """Measure the pipeline with each of several files, frame by frame in turn, on this computer.

    Args:
        artifacts: face parsers' files with their sidecars.
        frames: what they work on.
        options: how long, threads (those of OpenCV as well) and seed.
        command: the words of the command line, for the record.
        detector: as for `open_detector`.
        effect_name: what is drawn; a name in toolchain.face.effects.EFFECTS.
        faces: how many faces are followed at most.
        on_stage: told what goes on, for a progress line.

    Raises:
        UsageError: a file is not there, an option is out of range, or an effect is unknown.
        UnsupportedError: a file is no face parser, or no frame has a face.
    """
    before = load_average()
    names = _names(artifacts)
    contenders = [
        PipelineContender(name, path, frames, options.threads, detector, effect_name, faces)
        for name, path in zip(names, artifacts, strict=True)
    ]
    with _opencv_threads(options.threads):
        measured = measure(contenders, options, on_stage)
    for contender in contenders:
        contender.check_face()
    entries = [
        found.as_entry(contender.runtime, contender.threads, contender.file, shares=contender.shares())
        for contender, found in zip(contenders, measured, strict=True)
    ]
    settings = {
        **options.as_settings(),
        **frames.as_settings(),
        "detector": contenders[0].detector,
        "effect": effect_name,
        "faces": faces,
    }
    return host_results(PIPELINE, command, settings, entries, before)


def pipeline_figures(entry: Entry) -> dict[str, Any]:
    """What `benchmark pipeline --json` has of an entry.

    Returns:
        `fps`, frames per second (of the mean time of a frame), and `stages`: p50, p90 and p99 in ms of each
        stage and of "total".
    """
    total = entry.samples[TOTAL]
    return {
        "fps": round(MS * len(total) / sum(total), 3) if sum(total) > 0 else None,
        "stages": {
            stage: {name: round(getattr(found, name), 6) for name in ("p50", "p90", "p99")}
            for stage, found in stage_figures(entry).items()
        },
    }


def _names(artifacts: Sequence[Path]) -> list[str]:
    """File names, or paths where two are alike."""
    short = [path.name for path in artifacts]
    names = [
        str(path) if short.count(name) > 1 else name for path, name in zip(artifacts, short, strict=True)
    ]
    for path, name in zip(artifacts, names, strict=True):
        if names.count(name) > 1:
            raise UsageError(f"'{path}' is given twice", "give every file once")
        if not path.exists():
            raise UsageError(f"no model file at '{path}'", "`toolchain export` writes one")
    return names


@contextmanager
def _opencv_threads(threads: int | None) -> Iterator[None]:
    before = cv2.getNumThreads()
    if threads is not None:
        cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
