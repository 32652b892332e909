"""Masks of faces that are followed by their own mask against masks with a detector on every frame.

    python -P -m toolchain.benchmarks.tracking build/mobile-hourglass-fp32.tflite --clips FOLDER

Both run the same file with the previous mask; the regions of the second come from the detections, held
still within the same dead band. Agreement is the share of pixels of the frame with the same label, over the
frames in which the detector finds a face: over all pixels, and over those that either mask gives to the face.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.benchmarks.environment import PACKAGES, environment
from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import UsageError
from toolchain.face.clip import clip_files, read_frames
from toolchain.face.detectors import Detector, open_detector
from toolchain.face.engine import SAME_FACE, FaceEngine
from toolchain.face.parse import FaceParser
from toolchain.face.region import BACKGROUND, Box, face_square
from toolchain.face.tracking import HeldBox, MaskReader, overlap
from toolchain.runtimes import Runtime, load
from toolchain.spec import Artifact, load_sidecar


@dataclass
class Count:
    """Pixels of the frames that were compared, and how often the detector ran.

    Attributes:
        frames: all frames of the clips.
        detections: frames on which the engine ran its detector.
        missed: frames in which the detector found no face, or the network none there; they are not compared.
        without: frames that were compared, without a face for the engine.
        worst: lowest agreement of a frame over the pixels of the face.
    """

    frames: int = 0
    detections: int = 0
    missed: int = 0
    without: int = 0
    pixels: int = 0
    same: int = 0
    face: int = 0
    same_face: int = 0
    by_frame: list[float] = field(default_factory=list)

    def add(self, tracked: np.ndarray, detected: np.ndarray) -> None:
        """Compare two label maps of one frame."""
        equal = tracked == detected
        face = (tracked != BACKGROUND) | (detected != BACKGROUND)
        self.pixels += equal.size
        self.same += int(equal.sum())
        self.face += int(face.sum())
        self.same_face += int(equal[face].sum())
        self.by_frame.append(float(equal[face].mean()) if face.any() else 1.0)

    def __iadd__(self, other: Count) -> Count:
        for name in ("frames", "detections", "missed", "without", "pixels", "same", "face", "same_face"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.by_frame += other.by_frame
        return self

    def as_json(self) -> dict[str, Any]:
        """Agreement in percent; None without a frame to compare."""
        return {
            "frames": self.frames,
            "frames_compared": len(self.by_frame),
            "frames_without_detection": self.missed,
            "frames_lost_by_tracking": self.without,
            "detector_ran": self.detections,
            "agreement_all_pixels": _percent(self.same, self.pixels),
            "agreement_face_pixels": _percent(self.same_face, self.face),
            "worst_frame_face_pixels": round(100 * min(self.by_frame), 3) if self.by_frame else None,
        }


class _Detecting:
    """A face parser whose region comes from a detection on every frame."""

    def __init__(self, runtime: Runtime, artifact: Artifact, detector: Detector, held: bool) -> None:
        self._parser = FaceParser(runtime, artifact, reuse=True)
        self._reader = MaskReader(self._parser.contract.labels)
        self._detector = detector
        self._held: HeldBox | None = None
        self._keep = held

    def labels(self, picture: np.ndarray) -> np.ndarray | None:
        """Labels (height, width) of the face; None where none was detected, or the mask shows none there."""
        found = self._detector.detect(picture)
        if self._held is not None:
            before = self._held.box
            found = [box for box in found if overlap(box, before) >= SAME_FACE] or found
        for box in found:
            held = self._region(box)
            preprocess = self._parser.contract.preprocess
            square = face_square(held.box, preprocess.margin, preprocess.shift)
            parsed = self._parser.parse(picture, square)
            if not self._reader.read(*self._parser.overview, held.box, picture.shape).lost:
                self._held = held
                return parsed.labels
        self._held = None
        self._parser.reset()
        return None

    def _region(self, box: Box) -> HeldBox:
        if self._held is None or not self._keep or overlap(box, self._held.box) < SAME_FACE:
            return HeldBox(box)
        self._held.follow(box)
        return self._held


def measure(
    path: Path,
    clips: Path,
    detector: Path | None = None,
    limit: int | None = None,
    held: bool = True,
    threads: int | None = None,
) -> dict[str, Any]:
    """Compare the engine with a detector on every frame.

    Args:
        path: a face parser's file with its sidecar.
        clips: a video file, or a folder of them.
        detector: as for `open_detector`.
        limit: how many frames of each clip; None for all.
        held: whether the regions of the detections are held still within the dead band, or follow each one.
        threads: of one operator.

    Returns:
        A dict that JSON can express: `clips` by name and `all` with the fields of `Count.as_json`.

    Raises:
        UsageError: no such file or clip, or nothing can be compared.
        UnsupportedError: the file is no face parser.
    """
    artifact = load_sidecar(path)
    counts: dict[str, Count] = {}
    with load(path, threads=threads) as runtime:
        for clip in clip_files(clips):
            counts[clip.name] = _compare(runtime, artifact, clip, detector, limit, held)
    total = Count()
    for count in counts.values():
        total += count
    if not total.by_frame:
        raise UsageError(f"the detector finds no face in '{clips}'", "give clips that show a face")
    return {
        "name": artifact.name,
        "file": path.name,
        "regions_of_detections": "held within the dead band" if held else "follow every detection",
        "all": total.as_json(),
        "clips": {name: count.as_json() for name, count in counts.items()},
        "environment": environment((*PACKAGES, "opencv-python")),
    }


def _compare(
    runtime: Runtime, artifact: Artifact, clip: Path, detector: Path | None, limit: int | None, held: bool
) -> Count:
    engine = FaceEngine(runtime, artifact, open_detector(detector))
    other = _Detecting(runtime, artifact, open_detector(detector), held)
    count = Count()
    for picture in read_frames(clip, stop=limit):
        count.frames += 1
        parsed = engine.process(picture)
        count.detections += parsed.detected
        detected = other.labels(picture)
        if detected is None:
            count.missed += 1
            continue
        count.without += not parsed.faces
        count.add(parsed.labels, detected)
    return count


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 3) if whole else None


def _benchmark(arguments: Sequence[str] | None) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.benchmarks.tracking",
        description="Label agreement of tracking with detection on every frame, as JSON.",
    )
    parser.add_argument("file", type=Path, help="a face parser's file with its sidecar")
    parser.add_argument("--clips", type=Path, required=True, help="a video file, or a folder of them")
    parser.add_argument("--detector", type=Path, help="YuNet .onnx or BlazeFace .tflite")
    parser.add_argument("--frames", type=int, help="how many of each clip; default: all")
    parser.add_argument("--follow", action="store_true", help="the regions follow every detection")
    parser.add_argument("--threads", type=int, help="of one operator")
    parser.add_argument("--output", type=Path, help="write the JSON to this file as well")
    options = parser.parse_args(arguments)
    report = measure(
        options.file, options.clips, options.detector, options.frames, not options.follow, options.threads
    )
    if options.output is not None:
        save_json(report, options.output)
    return as_text(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line and return its exit code."""
    return run_benchmark(lambda: _benchmark(arguments))


if __name__ == "__main__":
    sys.exit(main())
