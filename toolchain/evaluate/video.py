"""Judge face parsers on clips: how steady their labels are, and how soon they recover after a cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2

from toolchain.errors import UnsupportedError, UsageError
from toolchain.evaluate.contenders import (
    Contender,
    check_unused,
    contract_like,
    is_file,
    open_contender,
)
from toolchain.evaluate.cuts import (
    HORIZON,
    JUMPED,
    OTHER,
    TOLERANCE,
    Cut,
    Site,
    make_cuts,
    recovery,
    run_count,
    site_frames,
    sites_of,
)
from toolchain.evaluate.flicker import Flicker, count_flicker
from toolchain.evaluate.follow import cut_out, labels_alone, labels_in_turn
from toolchain.evaluate.strip import write_strip
from toolchain.face.clip import Clip, Shot, clip_files, scan_clip
from toolchain.face.source import LOG_LEVEL, SPARE_FRAMES, SPARE_SHARE
from toolchain.versions import versions

VERSION = 2
# Shots in which the detector finds a face less often are left out: nothing says where their face is.
SEEN = 0.5
SHORTEST = 2
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ClipJudgement:
    """What one face parser reached.

    Attributes:
        contender: the face parser; its runtime is closed.
        flicker: by name of the clip.
        cuts: all cuts; none for a network that takes no previous mask.
    """

    contender: Contender
    flicker: dict[str, Flicker]
    cuts: tuple[Cut, ...]

    @property
    def total(self) -> Flicker:
        """Counts of all clips together."""
        return sum(self.flicker.values(), Flicker())

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        contender = self.contender
        takes = contender.takes_previous
        return {
            "name": contender.name,
            "artifact": contender.text,
            "format": contender.format,
            "precision": contender.precision,
            "input_size": contender.size,
            "takes_previous": takes,
            "terms": contender.terms,
            "flicker": self.total.as_json(takes),
            "recovery": recovery(self.cuts),
            "recovery_other_shot": recovery(self.cuts, OTHER),
            "recovery_jump": recovery(self.cuts, JUMPED),
            "clips": [
                {
                    "name": name,
                    **flicker.as_json(takes),
                    "recovery": recovery([cut for cut in self.cuts if cut.clip == name]),
                }
                for name, flicker in self.flicker.items()
            ],
            "cuts": [cut.as_json() for cut in self.cuts],
        }


@dataclass(frozen=True)
class ClipEvaluation:
    """Face parsers on the same clips.

    Attributes:
        clips: with their shots.
        whole: whether whole frames were taken instead of faces.
        judgements: one per face parser.
        seconds: the whole evaluation.
    """

    clips: tuple[Clip, ...]
    whole: bool
    judgements: tuple[ClipJudgement, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express; shares are percent."""
        return {
            "version": VERSION,
            "clips": [
                {
                    "name": clip.path.name,
                    "frames": clip.frames,
                    "fps": round(clip.fps, 3),
                    "shots": [
                        {
                            "start": shot.start,
                            "stop": shot.stop,
                            "face_found": round(100 * shot.seen, 2),
                            "used": is_used(shot),
                        }
                        for shot in clip.shots
                    ],
                }
                for clip in self.clips
            ],
            "whole": self.whole,
            "cut_horizon": HORIZON,
            "cut_tolerance": 100 * TOLERANCE,
            "artifacts": [judgement.as_json() for judgement in self.judgements],
            "seconds": round(self.seconds, 3),
            "versions": versions(),
        }


def is_used(shot: Shot) -> bool:
    """Whether a shot is long enough and shows a face that the detector finds."""
    return bool(shot.boxes) and shot.seen >= SEEN and shot.stop - shot.start >= SHORTEST


def evaluate_clips(
    artifacts: Sequence[str | Path],
    clips: Path | str,
    limit: int | None = None,
    whole: bool = False,
    weights: Path | None = None,
    like: str | None = None,
    threads: int | None = None,
    strips: Path | None = None,
    progress: Progress = lambda _stage: None,
) -> ClipEvaluation:
    """Run face parsers over clips with and without the previous mask, and after cuts.

    Flicker is the share of pixels whose label differs from that of the frame before, read along the optical
    flow, among the pixels of the face that the flow matches. The same pixels are compared with and without
    the previous mask.

    A cut gives a frame a previous mask that does not belong there. A mask has recovered at the first frame
    from which on (within HORIZON frames) it agrees with single answers, those to an empty previous mask, as
    well as one does that began with an empty mask after the cut, but for TOLERANCE.

    Args:
        artifacts: model files, zoo names or `file.py:factory`.
        clips: a video file, or a folder of them.
        limit: how many frames of each clip, from the first; None for all.
        whole: take whole frames, without looking for a face.
        weights: state dict of the only torch network among `artifacts`.
        like: a network whose contract holds for files without a sidecar.
        threads: threads of one operator in files; None is each runtime's default.
        strips: folder for pictures of the frames that flicker most; None for none.
        progress: called with what is being done.

    Raises:
        UsageError: no such artefact, clip, option or folder.
        UnsupportedError: an artefact is no face parser, a clip ends early, or no clip shows a face.
        MissingDependencyError: a package that runs one of the files is not installed.
    """
    start = perf_counter()
    _check_options(artifacts, limit, weights, strips)
    check_unused([str(text) for text in artifacts], like, threads)
    judgements = []
    with ExitStack() as stack:
        contenders: list[Contender] = []
        contract = contract_like(like) if like is not None else None
        for text in map(str, artifacts):
            names = {contender.name for contender in contenders}
            state = None if is_file(text) else weights
            contenders.append(open_contender(text, state, contract, threads, names))
            stack.enter_context(contenders[-1].runtime)
        scanned = []
        for file in clip_files(clips):
            progress(f"looking for faces in {file.name}")
            scanned.append(_scanned(file, limit, whole))
        if not any(is_used(shot) for clip in scanned for shot in clip.shots):
            raise UnsupportedError(
                f"no face was found in '{clips}'",
                "give clips with an upright frontal face, or take whole frames with --whole",
            )
        judgements = [_judge(contender, scanned, whole, strips, progress) for contender in contenders]
    return ClipEvaluation(tuple(scanned), whole, tuple(judgements), perf_counter() - start)


def _scanned(file: Path, limit: int | None, whole: bool) -> Clip:
    """The shots of a clip of which all frames that are wanted can be decoded.

    Raises:
        UnsupportedError: fewer can be than the file says it has; figures of a part compare with no others.
    """
    os.environ.setdefault(*LOG_LEVEL)
    clip = scan_clip(file, limit, whole)
    reader = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    said = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    reader.release()
    if clip.frames < min(said - max(SPARE_FRAMES, SPARE_SHARE * said), limit or said):
        raise UnsupportedError(
            f"'{file}' ends early: {clip.frames} of {said} frames could be decoded",
            f"copy or download it again, or judge its beginning alone with --limit {clip.frames}",
        )
    return clip


def _check_options(
    artifacts: Sequence[str | Path], limit: int | None, weights: Path | None, strips: Path | None
) -> None:
    if not artifacts:
        raise UsageError("there is nothing to evaluate", "give model files or networks")
    if limit is not None and limit < SHORTEST:
        raise UsageError(f"limit must be at least {SHORTEST} frames, not {limit}")
    networks = [text for text in map(str, artifacts) if not is_file(text)]
    if weights is not None and len(networks) != 1:
        raise UsageError(
            f"--weights is for one network in torch, and there are {len(networks)}", "evaluate one at a time"
        )
    if strips is not None and (strips.is_file() or not strips.absolute().parent.is_dir()):
        raise UsageError(f"'{strips}' is no folder and cannot become one", "name a folder in one that exists")


def _judge(
    contender: Contender, clips: Sequence[Clip], whole: bool, strips: Path | None, progress: Progress
) -> ClipJudgement:
    flicker: dict[str, Flicker] = {}
    sites: list[Site] = []
    used = [(clip, shot) for clip in clips for shot in clip.shots if is_used(shot)]
    for number, (clip, shot) in enumerate(used):
        passes = 2 if contender.takes_previous else 1
        tick = _ticker(progress, f"{contender.name}, {clip.path.name}", passes * (shot.stop - shot.start))
        crops = cut_out(clip, shot, contender, whole)
        alone = labels_alone(contender, crops, tick)
        in_turn = alone
        if contender.takes_previous:
            wanted = [first - 1 for first in site_frames(len(crops))]
            in_turn, kept = labels_in_turn(contender, crops, tick, keep=wanted)
            sites += sites_of(clip.path.name, shot.start, number, crops, alone, in_turn, kept)
        counts, changes = count_flicker(crops, alone, in_turn)
        flicker[clip.path.name] = flicker.get(clip.path.name, Flicker()) + counts
        if strips is not None:
            write_strip(strips, contender, clip, shot, crops, alone, in_turn, changes)
    tick = _ticker(progress, f"{contender.name}, cuts", run_count(sites) * HORIZON)
    return ClipJudgement(contender, flicker, make_cuts(contender, sites, tick))


def _ticker(progress: Progress, text: str, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(f"{text}: {done} of {total} frames")

    return tick
