"""The published table of latencies, and ours beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.benchmarks.harness.contender import INFERENCE, TOTAL
from toolchain.benchmarks.reports.measured import UNKNOWN, Measured, stage_time
from toolchain.benchmarks.reports.tables import Table
from toolchain.benchmarks.reports.texts import milliseconds, percent

DETECTION, COLORIZATION = "detection", "colorization"
# Share of the frames in which the detector ran; in the others "detection" is a look at the last mask.
DETECTED = "detected"
# Names of stages in a report where they differ from those in a results file.
STAGE_NAMES = {DETECTION: "face detection", "unwarp": "un-warp"}
NOT_STATED = "not stated"
SOURCE = "thesis, chapter 5, iPhone X"


@dataclass(frozen=True)
class Published:
    """One column of the published table (thesis, chapter 5), in milliseconds on an iPhone X."""

    name: str
    stages: dict[str, str]


# Detection is the same in front of both networks and is stated once.
PUBLISHED = (
    Published(
        "Mobile-Hourglass",
        {DETECTION: "7 to 8", INFERENCE: "75 to 78", COLORIZATION: "18", TOTAL: "103 to 110"},
    ),
    Published("U-Net", {DETECTION: "7 to 8", INFERENCE: "203", COLORIZATION: "54", TOTAL: "269"}),
)


def headline(measured: Sequence[Measured]) -> Table:
    """The published rows in milliseconds, and every entry that is not emulated as a column beside them.

    A pipeline fills all rows, a model that of inference alone. Inference, colorization and the total are
    medians; a stage that did not run in every frame is a mean per frame, with the median of its runs. So is
    detection unless the detector ran in every frame: the median frame only follows the last mask.
    """
    shown = [one for one in measured if one.published]
    stages = [DETECTION, INFERENCE, COLORIZATION]
    for one in shown:
        if one.is_pipeline:
            stages = _merged(stages, one.stages)
    heads = (
        ("where", SOURCE, [one.where for one in shown]),
        ("runtime", NOT_STATED, [one.entry.runtime for one in shown]),
        ("precision", NOT_STATED, [one.precision for one in shown]),
        ("threads", NOT_STATED, [one.threads for one in shown]),
    )
    rows = [[head, *[published] * len(PUBLISHED), *ours] for head, published, ours in heads]
    for stage in [*stages, TOTAL]:
        theirs = [column.stages.get(stage, NOT_STATED) for column in PUBLISHED]
        ours = [_cell(one, stage) for one in shown]
        rows.append([f"{STAGE_NAMES.get(stage, stage)}, ms", *theirs, *ours])
    columns = ["", *(f"{column.name} (published)" for column in PUBLISHED), *(one.label for one in shown)]
    notes = [
        f"Published: {SOURCE}. Ours: medians in milliseconds; a stage that does not run in every frame, and"
        " detection where faces are followed between detections, is its mean per frame.",
        *left_out(measured),
    ]
    if any(not one.is_pipeline for one in shown):
        notes.append("A model by itself has no other row than inference.")
    return Table("Published table and ours", columns, rows, notes)


def left_out(measured: Sequence[Measured]) -> list[str]:
    """A sentence for every entry whose times are not shown."""
    made = []
    for one in measured:
        if one.results.lane.emulated:
            what = f"ran on an emulator ({one.results.lane.name})"
        elif one.entry.reference_interpreter:
            what = f"ran in the {one.entry.runtime}, a stand-in for the real runtime"
        else:
            continue
        made.append(f"'{one.label}' {what}; its times say nothing about a device and are left out.")
    return made


def stage_cell(times: np.ndarray) -> str:
    """Median milliseconds; of a stage that did not always run its mean per frame, and when it ran."""
    found = stage_time(times)
    if found.p50 is None:
        return "0 (never ran)"
    if found.share == 1:
        return milliseconds(found.p50)
    often = percent(found.share)
    return f"{milliseconds(found.mean)} per frame ({milliseconds(found.p50)} in {often} of frames)"


def _cell(one: Measured, stage: str) -> str:
    if not one.is_pipeline:
        return stage_cell(one.inference) if stage == INFERENCE else UNKNOWN
    if stage not in one.entry.samples:
        return UNKNOWN
    times, detected = one.times(stage), one.entry.shares.get(DETECTED, 1.0)
    if stage == DETECTION and detected < 1 and (times > 0).all():
        return f"{milliseconds(float(times.mean()))} per frame (detector in {percent(detected)} of frames)"
    return stage_cell(times)


def _merged(stages: list[str], more: Sequence[str]) -> list[str]:
    """All stages: a new one comes behind the one that it follows in `more`."""
    made = list(stages)
    position = 0
    for stage in more:
        if stage in made:
            position = made.index(stage) + 1
        else:
            made.insert(position, stage)
            position += 1
    return made
