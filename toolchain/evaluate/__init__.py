"""Judge face parsers on annotated pictures: torch networks and files of every format alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from toolchain.errors import UsageError
from toolchain.evaluate.contenders import (
    Contender,
    check_unused,
    contract_like,
    is_file,
    open_contender,
)
from toolchain.evaluate.follow import answer_of
from toolchain.evaluate.pictures import NONE, OWN, PREVIOUS, Pictures, Sample
from toolchain.evaluate.scores import Figures, Tally, labels_of
from toolchain.models.faces import LABELS
from toolchain.training.boundary import TOLERANCE, tolerance_in_pixels
from toolchain.versions import versions

VERSION = 1
WORST = 12
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BadPicture:
    """One of the worst pictures of a face parser.

    Attributes:
        name: of the pair.
        overall_f1: of this picture alone, in percent.
        picture: (side, side, 3) RGB uint8.
        truth: annotated labels (side, side) uint8, 255 where unknown.
        found: labels (side, side) uint8.
    """

    name: str
    overall_f1: float
    picture: np.ndarray
    truth: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class Judgement:
    """What one face parser reached.

    Attributes:
        contender: the face parser; its runtime is closed.
        side: side in pixels of the label maps that were compared.
        figures: the figures.
        worst: the worst pictures, worst first.
    """

    contender: Contender
    side: int
    figures: Figures
    worst: tuple[BadPicture, ...]

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express."""
        contender = self.contender
        return {
            "name": contender.name,
            "artifact": contender.text,
            "format": contender.format,
            "precision": contender.precision,
            "bytes": contender.bytes,
            "sha256": contender.sha256,
            "input_size": contender.size,
            "judged_size": self.side,
            "boundary_tolerance": round(tolerance_in_pixels(self.side, self.side), 3),
            "terms": contender.terms,
            **self.figures.as_json(LABELS),
            "worst": [{"name": bad.name, "overall_f1": round(bad.overall_f1, 3)} for bad in self.worst],
        }


@dataclass(frozen=True)
class Evaluation:
    """Face parsers side by side.

    Attributes:
        data: as the user called the dataset.
        description: name of the dataset.
        split: part of it.
        pictures: how many were used.
        available: how many the split has.
        skipped: (name, reason) of pairs that the dataset left out.
        terms: of the dataset.
        previous: a key of PREVIOUS.
        baseline: whether the first of `judgements` was given as such.
        judgements: one per face parser; agreement and differences are to the first.
        seconds: the whole evaluation.
    """

    data: str
    description: str
    split: str
    pictures: int
    available: int
    skipped: tuple[tuple[str, str], ...]
    terms: str
    previous: str
    baseline: bool
    judgements: tuple[Judgement, ...]
    seconds: float

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides at which label maps were compared, without repetition."""
        return tuple(dict.fromkeys(judgement.side for judgement in self.judgements))

    def as_json(self) -> dict[str, Any]:
        """A dict that JSON can express; figures are percent but for `agreement` (0-1)."""
        return {
            "version": VERSION,
            "data": {
                "source": self.data,
                "description": self.description,
                "split": self.split,
                "pictures": self.pictures,
                "available": self.available,
                "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
                "terms": self.terms,
            },
            "previous": self.previous,
            "baseline": self.judgements[0].contender.name if self.baseline else None,
            "labels": list(LABELS),
            "boundary_tolerance_of_diagonal": TOLERANCE,
            "artifacts": [judgement.as_json() for judgement in self.judgements],
            "seconds": round(self.seconds, 3),
            "pictures_per_second": round(self.pictures / self.seconds, 3),
            "versions": versions(),
        }


def evaluate(
    artifacts: Sequence[str | Path],
    data: str,
    split: str = "val",
    limit: int | None = None,
    baseline: str | Path | None = None,
    weights: Path | None = None,
    like: str | None = None,
    size: int | None = None,
    previous: str = NONE,
    threads: int | None = None,
    worst: int = WORST,
    progress: Progress = lambda _done, _total: None,
) -> Evaluation:
    """Run face parsers on annotated pictures and compare their labels with the annotation.

    Pictures are brought to the input size of each face parser. Labels are compared at `size`, or at the
    input size when it is None; pixels without annotation do not count.

    Args:
        artifacts: model files, zoo names or `file.py:factory`.
        data: see `toolchain.training.datasets.open_pairs`.
        split: part of the dataset.
        limit: how many pictures, evenly spread; None for all.
        baseline: one more face parser, which comes first.
        weights: state dict of the only torch network among `artifacts`; not for the baseline.
        like: a network whose contract holds for files without a sidecar.
        size: side in pixels at which labels are compared.
        previous: previous mask of networks that take one, a key of PREVIOUS.
        threads: threads of one operator in files; None is each runtime's default.
        worst: how many of the worst pictures to keep for each face parser.
        progress: called with the number of pictures done and that of all.

    Raises:
        UsageError: no such artefact, data or option, or something that would be left unused.
        UnsupportedError: an artefact is no face parser with the classes of the data, or a file is damaged.
        MissingDependencyError: a package that runs one of the files is not installed.
    """
    start = perf_counter()
    _check_options(artifacts, limit, weights, size, previous, worst)
    check_unused([str(text) for text in (*artifacts, baseline) if text is not None], like, threads)
    with ExitStack() as stack:
        contenders = list(_open_all(artifacts, baseline, weights, like, threads, stack))
        if previous != NONE and not any(contender.takes_previous for contender in contenders):
            raise UsageError(
                f"--previous {previous} is for networks that take a previous mask; none of these does",
                "leave --previous out",
            )
        sides = [size or contender.size for contender in contenders]
        used = {contender.size for contender in contenders if contender.takes_previous}
        pictures = Pictures(
            data, split, {*sides, *(contender.size for contender in contenders)}, previous, used
        )
        available = len(pictures.at(sides[0]))
        spread = np.linspace(0, available - 1, min(limit or available, available))
        chosen = [int(index) for index in spread.round()]
        tallies = [Tally(len(LABELS), worst) for _ in contenders]
        _judge(chosen, pictures, contenders, sides, tallies, previous, progress)
    first = pictures.at(sides[0])
    return Evaluation(
        data=data,
        description=first.description,
        split=split,
        pictures=len(chosen),
        available=available,
        skipped=tuple((skipped.name, skipped.reason) for skipped in first.skipped),
        terms=first.terms,
        previous=previous,
        baseline=baseline is not None,
        judgements=tuple(_judgements(contenders, sides, tallies, pictures)),
        seconds=perf_counter() - start,
    )


def _check_options(
    artifacts: Sequence[str | Path],
    limit: int | None,
    weights: Path | None,
    size: int | None,
    previous: str,
    worst: int,
) -> None:
    if not artifacts:
        raise UsageError("there is nothing to evaluate", "give model files or networks")
    for name, value, least in (("limit", limit, 1), ("size", size, 16), ("worst", worst, 0)):
        if value is not None and value < least:
            raise UsageError(f"{name} must be at least {least}, not {value}")
    if previous not in PREVIOUS:
        raise UsageError(f"unknown previous mask '{previous}'", f"use {', '.join(PREVIOUS)}")
    networks = [str(text) for text in artifacts if not is_file(str(text))]
    if weights is not None and len(networks) != 1:
        raise UsageError(
            f"--weights is for one network in torch, and there are {len(networks)}",
            "evaluate one at a time, the others as files or as --baseline",
        )


def _open_all(
    artifacts: Sequence[str | Path],
    baseline: str | Path | None,
    weights: Path | None,
    like: str | None,
    threads: int | None,
    stack: ExitStack,
) -> Iterator[Contender]:
    contract = contract_like(like) if like is not None else None
    wanted = [(str(text), None if is_file(str(text)) else weights) for text in artifacts]
    if baseline is not None:
        wanted.insert(0, (str(baseline), None))
    names: set[str] = set()
    for text, state in wanted:
        contender = open_contender(text, state, contract, threads, names)
        names.add(contender.name)
        stack.enter_context(contender.runtime)
        yield contender


def _judge(
    chosen: Sequence[int],
    pictures: Pictures,
    contenders: Sequence[Contender],
    sides: Sequence[int],
    tallies: Sequence[Tally],
    previous: str,
    progress: Progress,
) -> None:
    """Run all face parsers on the chosen pairs, while another thread reads the next and counts the last."""
    with ThreadPoolExecutor(max_workers=1) as aside:
        reading = aside.submit(pictures.sample, chosen[0])
        counting: Future[None] | None = None
        for done, following in enumerate((*chosen[1:], None)):
            progress(done, len(chosen))
            sample = reading.result()
            if following is not None:
                reading = aside.submit(pictures.sample, following)
            answers = [
                _answer(contender, side, sample, previous)
                for contender, side in zip(contenders, sides, strict=True)
            ]
            if counting is not None:
                counting.result()
            counting = aside.submit(_count, sample, sides, answers, tallies)
        if counting is not None:
            counting.result()
    progress(len(chosen), len(chosen))


def _answer(contender: Contender, side: int, sample: Sample, previous: str) -> tuple[np.ndarray, float]:
    """Labels (side, side) uint8 of one face parser, and the seconds that this answer took."""
    picture = sample.pairs[contender.size][0]
    before = _before(contender, picture, sample, previous)
    start = perf_counter()
    scores = contender.scores(picture, before)
    seconds = perf_counter() - start
    return labels_of(scores, side, len(LABELS), contender.name), seconds


def _before(contender: Contender, picture: np.ndarray, sample: Sample, previous: str) -> np.ndarray | None:
    """The previous mask (classes, size, size) float32; None for an empty one."""
    if not contender.takes_previous:
        return None
    if previous == OWN:
        return answer_of(contender, picture, None).probabilities
    return sample.previous.get(contender.size)


def _count(
    sample: Sample,
    sides: Sequence[int],
    answers: Sequence[tuple[np.ndarray, float]],
    tallies: Sequence[Tally],
) -> None:
    first = answers[0][0]
    for position, (side, (found, seconds), tally) in enumerate(zip(sides, answers, tallies, strict=True)):
        comparable = position > 0 and side == sides[0]
        tally.add(sample.index, found, sample.pairs[side][1], seconds, first if comparable else None)


def _judgements(
    contenders: list[Contender], sides: list[int], tallies: list[Tally], pictures: Pictures
) -> Iterator[Judgement]:
    for position, (contender, side, tally) in enumerate(zip(contenders, sides, tallies, strict=True)):
        comparable = position > 0 and side == sides[0]
        yield Judgement(
            contender=contender,
            side=side,
            figures=tally.figures(tallies[0] if comparable else None),
            worst=tuple(_bad_pictures(tally, pictures, side)),
        )


def _bad_pictures(tally: Tally, pictures: Pictures, side: int) -> Iterator[BadPicture]:
    for bad in tally.worst:
        picture, truth = pictures.pair(bad.index, side)
        yield BadPicture(pictures.at(side).names[bad.index], 100.0 - bad.error, picture, truth, bad.found)
