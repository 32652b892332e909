"""The tables of an evaluation on clips."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.evaluate.cuts import HORIZON, JUMP, TOLERANCE, WITHIN, recovery
from toolchain.evaluate.flicker import Flicker
from toolchain.evaluate.tables import UNKNOWN, Table, percent
from toolchain.evaluate.video import ClipEvaluation, ClipJudgement, is_used

ALL = "all clips"


def clip_table(made: ClipEvaluation, judgement: ClipJudgement) -> Table:
    """One row per clip and one for all of them."""
    columns = (
        "clip",
        "pairs",
        "flicker without, %",
        "with, %",
        "ratio",
        "beyond 1 px without, %",
        "with, %",
        "ratio",
        "same label, %",
        "frames to recover",
        f"within {WITHIN}",
        f"as without cut within {WITHIN}",
    )
    rows = [_row(name, judgement, flicker) for name, flicker in judgement.flicker.items()]
    if len(rows) > 1:
        rows.append(_row(ALL, judgement, judgement.total))
    title = judgement.contender.name if len(made.judgements) > 1 else ""
    return Table(title, columns, tuple(rows))


def _row(name: str, judgement: ClipJudgement, flicker: Flicker) -> tuple[str, ...]:
    values = flicker.as_json(judgement.contender.takes_previous)
    return (
        name,
        str(flicker.pairs),
        percent(values["without_previous"]),
        percent(values["with_previous"]),
        percent(values["ratio"]),
        percent(values["without_previous_beyond_1px"]),
        percent(values["with_previous_beyond_1px"]),
        percent(values["ratio_beyond_1px"]),
        percent(values["same_label"]),
        *_recovered(name, judgement),
    )


def _recovered(name: str, judgement: ClipJudgement) -> tuple[str, str, str]:
    figures = recovery([cut for cut in judgement.cuts if name in (ALL, cut.clip)])
    if figures is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    late = f"> {HORIZON}"
    median, worst = (late if figures[key] is None else str(figures[key]) for key in _FRAMES)
    soon, steady = (f"{figures[f'{kind}within_{WITHIN}']} of {figures['cuts']}" for kind in ("", "steady_"))
    return f"{median}, worst {worst}", soon, steady


_FRAMES = ("frames_median", "frames_worst")


def remarks(made: ClipEvaluation) -> Iterator[str]:
    """What the figures mean and what they hold for, a sentence each."""
    yield (
        "flicker: share of pixels whose label is not that of the frame before, read along the optical flow;"
        " of the face pixels that forward and backward flow match (what is background now and before, with"
        " and without the previous mask, is left out)"
    )
    yield (
        "beyond 1 px: the label is not even found within one pixel, so that moving outlines do not count;"
        " same label: with and without the previous mask"
    )
    if any(judgement.cuts for judgement in made.judgements):
        yield (
            "recovery: the frame before and its mask are replaced by those of another shot, or shifted by"
            f" {JUMP:.0%} of the side; frames until agreement with single answers is that of a mask that"
            f" began empty after the cut, less {100 * TOLERANCE:.0f} point, for the rest of {HORIZON} frames"
            " (median over cuts); beside it, until it is that of the mask without the cut, in which chance"
            " has a part"
        )
    for judgement in made.judgements:
        if not judgement.contender.takes_previous:
            yield f"{judgement.contender.name} takes no previous mask"
    for clip in made.clips:
        for shot in clip.shots:
            if not is_used(shot):
                yield (
                    f"left out: {clip.path.name}, frames {shot.start} to {shot.stop - 1}:"
                    f" a face was found in {shot.seen:.0%} of the frames looked at"
                )
    moved = {judgement.total.moved for judgement in made.judgements}
    if moved != {0}:
        yield f"left out: {max(moved)} pairs of frames between which the region of interest moves"
    yield f"{made.seconds:.1f} s"
