"""A report as one HTML file that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from toolchain.benchmarks.reports import charts
from toolchain.benchmarks.reports.fact_tables import (
    environment_tables,
    file_table,
    memory_table,
    operator_tables,
    provenance,
)
from toolchain.benchmarks.reports.headline import headline
from toolchain.benchmarks.reports.latency_tables import latency_table, ratio_tables, stage_tables
from toolchain.benchmarks.reports.measured import Measured
from toolchain.benchmarks.reports.offline_page import data_uri, render

TEMPLATE = "report.html.j2"
# Pictures are shown no larger than this, in pixels.
SHOWN = 320


@dataclass(frozen=True)
class ParityPictures:
    """What a file makes of one input, beside what PyTorch makes of it.

    Attributes:
        label: of the entry.
        text: how far the two are apart.
        pictures: names and (height, width, 3) RGB uint8: input, PyTorch, the file, difference.
    """

    label: str
    text: str
    pictures: Sequence[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class ParitySheet:
    """All parity pictures of a report.

    Attributes:
        strips: one per file and input.
        legend: names and colours (RGB 0-255) of the classes.
        notes: where the inputs came from, and which files are left out.
    """

    strips: Sequence[ParityPictures] = field(default_factory=list)
    legend: Sequence[tuple[str, tuple[int, int, int]]] = field(default_factory=list)
    notes: Sequence[str] = field(default_factory=list)


def page(measured: Sequence[Measured], parity: ParitySheet | None = None) -> str:
    """The HTML of a report; pictures and charts are part of it, and it runs no script.

    Args:
        measured: the entries, see `read_all`.
        parity: pictures to show; None for none.
    """
    sheet = parity or ParitySheet()
    return render(
        __package__ or "",
        TEMPLATE,
        created=max(one.results.created for one in measured),
        headline=headline(measured),
        latency=latency_table(measured),
        distributions=charts.distributions(measured),
        ratios=ratio_tables(measured),
        stages=stage_tables(measured),
        stage_chart=charts.stage_chart(measured),
        timelines=charts.timelines(measured),
        operators=list(zip(charts.operator_charts(measured), operator_tables(measured), strict=True)),
        profile_notes=list(dict.fromkeys(one.results.profile_note or "" for one in measured)),
        files=file_table(measured),
        scatter=charts.scatter(measured),
        memory=memory_table(measured),
        memory_chart=charts.memory_chart(measured),
        strips=[_strip(strip) for strip in sheet.strips],
        legend=[(name, "#{:02x}{:02x}{:02x}".format(*color)) for name, color in sheet.legend],
        parity_notes=sheet.notes,
        environments=environment_tables(measured),
        provenance=list(provenance(measured)),
    )


def _strip(strip: ParityPictures) -> dict[str, object]:
    pictures = [(name, data_uri(picture, SHOWN)) for name, picture in strip.pictures]
    return {"label": strip.label, "text": strip.text, "pictures": pictures}
