"""Hard cuts: a frame before that does not belong there, and how soon the masks are right again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.evaluate.contenders import Contender
from toolchain.evaluate.follow import Crops, Seen, labels_in_turn
from toolchain.face.steadiness import face_agreement, frames_to_recover

# Frames that are looked at after a cut, cuts in every shot, and how much less agreement counts as equal.
HORIZON = 10
CUTS = 4
TOLERANCE = 0.01
WITHIN = 3
# The face jumps by this share of the region's side.
JUMP = 0.25
OTHER, JUMPED = "other shot", "jump"


@dataclass(frozen=True)
class Site:
    """A place in a shot where a cut is made.

    Attributes:
        clip: name of the clip.
        shot: number that all sites of a shot share.
        frame: number of the first frame after the cut.
        crops: HORIZON frames from there on.
        alone: their labels (HORIZON, size, size), each with an empty previous mask.
        in_turn: their labels without a cut.
        before: the frame before, in its own region, and its probabilities.
    """

    clip: str
    shot: int
    frame: int
    crops: Crops
    alone: np.ndarray
    in_turn: np.ndarray
    before: Seen


@dataclass(frozen=True)
class Cut:
    """What happened after a cut.

    Attributes:
        clip: name of the clip.
        frame: number of the first frame after the cut.
        kind: OTHER, the frame before and its mask are from another shot, or JUMPED, they are the shot's own,
            shifted by JUMP.
        after: agreement (0-1) of each frame with its answer to an empty previous mask, within the face.
        begun: the same agreement of the same frames when the first one had an empty previous mask.
        steady: the same without the cut. Here chance has a part: two masks of different pasts agree with
            single answers now better, now worse.
    """

    clip: str
    frame: int
    kind: str
    after: tuple[float, ...]
    begun: tuple[float, ...]
    steady: tuple[float, ...]

    @property
    def frames(self) -> int | None:
        """How many frames agree less than from an empty mask on, by more than TOLERANCE; None for all."""
        return frames_to_recover(self.after, self.begun, TOLERANCE)

    @property
    def frames_to_steady(self) -> int | None:
        """How many frames agree less than without the cut, by more than TOLERANCE; None for all."""
        return frames_to_recover(self.after, self.steady, TOLERANCE)

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express; agreement in percent."""
        return {
            "clip": self.clip,
            "frame": self.frame,
            "kind": self.kind,
            "frames_to_recover": self.frames,
            "frames_to_steady": self.frames_to_steady,
            "after": [round(100 * value, 2) for value in self.after],
            "begun": [round(100 * value, 2) for value in self.begun],
            "steady": [round(100 * value, 2) for value in self.steady],
        }


def site_frames(frames: int) -> list[int]:
    """Numbers of the first frames after the cuts in a shot of so many frames, evenly spread."""
    last = frames - HORIZON
    return sorted({int(number) for number in np.linspace(1, last, CUTS).round()}) if last >= 1 else []


def sites_of(
    clip: str,
    start: int,
    shot: int,
    crops: Crops,
    alone: np.ndarray,
    in_turn: np.ndarray,
    kept: dict[int, np.ndarray],
) -> Iterator[Site]:
    """Sites in a shot that has been run; `kept` has the probabilities of the frames before them."""
    for first in site_frames(len(crops)):
        stop = first + HORIZON
        yield Site(
            clip=clip,
            shot=shot,
            frame=start + first,
            crops=crops.part(first, stop),
            alone=alone[first:stop],
            in_turn=in_turn[first:stop],
            before=Seen(crops.pictures[first - 1], kept[first - 1]),
        )


def run_count(sites: Sequence[Site]) -> int:
    """How many times `make_cuts` runs HORIZON frames."""
    kinds = 2 if len({site.shot for site in sites}) > 1 else 1
    return (kinds + 1) * len(sites)


def make_cuts(contender: Contender, sites: Sequence[Site], tick: Callable[[], None]) -> tuple[Cut, ...]:
    """Run the frames after every site behind a frame that does not belong there, and behind none."""
    cuts = []
    for index, site in enumerate(sites):
        begun = _agreement(site, labels_in_turn(contender, site.crops, tick)[0])
        steady = _agreement(site, site.in_turn)
        for kind, before in _strangers(sites, index):
            labels, _ = labels_in_turn(contender, site.crops, tick, before=before)
            cuts.append(Cut(site.clip, site.frame, kind, _agreement(site, labels), begun, steady))
    return tuple(cuts)


def _agreement(site: Site, labels: np.ndarray) -> tuple[float, ...]:
    return tuple(face_agreement(made, right) for made, right in zip(labels, site.alone, strict=True))


def _strangers(sites: Sequence[Site], index: int) -> Iterator[tuple[str, Seen]]:
    site = sites[index]
    others = [other for other in (*sites[index:], *sites[:index]) if other.shot != site.shot]
    if others:
        # Not the nearest for all: the sites of a shot would get one mask between them.
        yield OTHER, others[index % len(others)].before
    pixels = round(JUMP * site.before.picture.shape[1])
    picture = shifted(site.before.picture.transpose(2, 0, 1), pixels).transpose(1, 2, 0)
    yield JUMPED, Seen(np.ascontiguousarray(picture), shifted(site.before.probabilities, pixels))


def shifted(planes: np.ndarray, pixels: int) -> np.ndarray:
    """Planes (classes, height, width) moved to the right; zero where nothing comes from."""
    moved = np.zeros_like(planes)
    moved[:, :, pixels:] = planes[:, :, : planes.shape[2] - pixels]
    return moved


def recovery(cuts: Sequence[Cut], kind: str | None = None) -> dict[str, Any] | None:
    """Figures over cuts, those of one kind or all; None without any.

    `frames_median` and `frames_worst` are None where the mask has not recovered within HORIZON frames.
    """
    chosen = [cut for cut in cuts if kind in (None, cut.kind)]
    if not chosen:
        return None
    frames = [cut.frames for cut in chosen]
    ordered = sorted(HORIZON + 1 if count is None else count for count in frames)
    # The upper one of the two in the middle: never better than it was.
    median, worst = ordered[len(ordered) // 2], ordered[-1]
    return {
        "cuts": len(chosen),
        "frames_median": None if median > HORIZON else median,
        "frames_worst": None if worst > HORIZON else worst,
        f"within_{WITHIN}": _soon(frames),
        "not_recovered": sum(count is None for count in frames),
        f"steady_within_{WITHIN}": _soon([cut.frames_to_steady for cut in chosen]),
        "after": _mean([cut.after for cut in chosen]),
        "begun": _mean([cut.begun for cut in chosen]),
        "steady": _mean([cut.steady for cut in chosen]),
    }


def _soon(frames: Sequence[int | None]) -> int:
    return sum(count is not None and count <= WITHIN for count in frames)


def _mean(rows: list[tuple[float, ...]]) -> list[float]:
    return [round(100 * float(value), 2) for value in np.mean(rows, axis=0)]
