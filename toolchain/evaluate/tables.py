"""The tables of an evaluation, for the terminal and for the page alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolchain.evaluate import Evaluation, Judgement
from toolchain.evaluate.pictures import PREVIOUS
from toolchain.models.faces import LABELS, SIZE
from toolchain.training.boundary import TOLERANCE, tolerance_in_pixels

UNKNOWN = "-"
Values = Sequence[float | None]


@dataclass(frozen=True)
class Table:
    """Rows of text under column names."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def percent(value: float | None) -> str:
    """Two digits behind the point, "-" for None."""
    return UNKNOWN if value is None else f"{value:.2f}"


def figures_table(made: Evaluation) -> Table:
    """One column per face parser; the last rows compare with the first of several."""
    columns = [_figures(judgement) for judgement in made.judgements]
    if len(columns) > 1:
        for column, judgement in zip(columns, made.judgements, strict=True):
            column |= _comparison(judgement)
    rows = tuple((name, *(column[name] for column in columns)) for name in columns[0])
    return Table("", ("", *(judgement.contender.name for judgement in made.judgements)), rows)


def _figures(judgement: Judgement) -> dict[str, str]:
    figures, scores = judgement.figures, judgement.figures.scores
    return {
        "overall F1": percent(scores.overall),
        "its 95 % interval": _interval(figures.overall_interval),
        "strict F1": percent(scores.strict),
        "micro-F1 with skin": percent(scores.micro_with_skin),
        "lowest class F1": percent(figures.lowest_class),
        "boundary F1": percent(figures.mean_boundary),
        "mean IoU": percent(scores.mean_iou),
        "pixel accuracy": percent(scores.pixel_accuracy),
        "ms a picture": f"{figures.milliseconds:.1f}",
        "judged at px": str(judgement.side),
    }


def _comparison(judgement: Judgement) -> dict[str, str]:
    figures = judgement.figures
    agreement = None if figures.agreement is None else 100 * figures.agreement
    return {
        "same label as the first, %": percent(agreement),
        "overall F1 minus the first's": percent(figures.difference),
        "95 % interval of that": _interval(figures.difference_interval),
    }


def _interval(values: tuple[float, float] | None) -> str:
    return UNKNOWN if values is None else f"{values[0]:.2f} to {values[1]:.2f}"


def class_tables(made: Evaluation) -> tuple[Table, ...]:
    """Rows are classes. One face parser has one table of its figures; several have one for each figure."""
    kinds = {"F1": _f1, "IoU": _iou, "boundary F1": _boundary}
    if len(made.judgements) == 1:
        [judgement] = made.judgements
        return (_by_class("", {name: kind(judgement) for name, kind in kinds.items()}),)
    return tuple(
        _by_class(name, {judgement.contender.name: kind(judgement) for judgement in made.judgements})
        for name, kind in kinds.items()
    )


def _by_class(title: str, columns: dict[str, Values]) -> Table:
    rows = (
        (label, *(percent(values[index]) for values in columns.values()))
        for index, label in enumerate(LABELS)
    )
    return Table(title, ("class", *columns), tuple(rows))


def _f1(judgement: Judgement) -> Values:
    scores = judgement.figures.scores
    return [f1 if is_in else None for f1, is_in in zip(scores.per_class, scores.present, strict=True)]


def _iou(judgement: Judgement) -> Values:
    scores = judgement.figures.scores
    return [iou if is_in else None for iou, is_in in zip(scores.iou, scores.present, strict=True)]


def _boundary(judgement: Judgement) -> Values:
    return judgement.figures.boundary


def worst_table(made: Evaluation, shown: int = 5) -> Table:
    """The worst pictures of each face parser with the overall F1 of each picture alone."""
    rows = tuple(
        (judgement.contender.name, *(f"{bad.name} {bad.overall_f1:.1f}" for bad in judgement.worst[:shown]))
        for judgement in made.judgements
        if judgement.worst
    )
    width = max((len(row) for row in rows), default=1)
    columns = ("face parser", "worst pictures", *[""] * (width - 2))
    return Table("", columns, tuple((*row, *[""] * (width - len(row))) for row in rows))


def remarks(made: Evaluation) -> Iterator[str]:
    """What the figures hold for, a sentence each."""
    data = made.description or made.data
    if made.pictures == made.available:
        yield f"all {made.pictures} {made.split} pictures of {data}"
    else:
        yield f"{made.pictures} of {made.available} {made.split} pictures of {data}, evenly spread"
    yield from _sizes(made)
    pixels = ", ".join(
        f"{tolerance_in_pixels(side, side):.1f} px at {side} x {side}" for side in sorted(made.sizes)
    )
    yield (
        f"boundary F1 counts what lies within {TOLERANCE:.2%} of the diagonal ({pixels}), after Csurka et al."
        " (BMVC 2013); its mean leaves background out"
    )
    if any(judgement.contender.takes_previous for judgement in made.judgements):
        yield f"previous mask: {PREVIOUS[made.previous]}"
    for name, reason in made.skipped:
        yield f"left out: {name}: {reason}"
    yield f"{made.seconds:.1f} s, {made.pictures / made.seconds:.1f} pictures a second"


def _sizes(made: Evaluation) -> Iterator[str]:
    judged = {judgement.side for judgement in made.judgements}
    if len(judged) > 1:
        yield (
            "labels are compared at each face parser's own input size, so that the rows are not alike: "
            f"--size {SIZE} compares all at one"
        )
    elif judged != {SIZE}:
        yield f"labels are compared at {judged.pop()} px; the figures of the protocol are at {SIZE} px"
    resized = [item for item in made.judgements if item.side != item.contender.size]
    for item in resized:
        name, own = item.contender.name, item.contender.size
        yield f"{name} works at {own} px; its scores are resized to {item.side} px"
