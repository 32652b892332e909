"""How long everything took: order statistics of every entry, ratios of those measured together, stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolchain.benchmarks.harness.contender import TOTAL
from toolchain.benchmarks.harness.figures import figures, ratio
from toolchain.benchmarks.harness.results import HOST
from toolchain.benchmarks.reports.headline import STAGE_NAMES, left_out
from toolchain.benchmarks.reports.measured import UNKNOWN, Measured, by_file, stage_time
from toolchain.benchmarks.reports.tables import Table
from toolchain.benchmarks.reports.texts import milliseconds, percent

LATENCY_COLUMNS = (
    "", "of", "p50, ms", "p90, ms", "p99, ms", "spread, ms", "outliers", "drift", "samples", "waited",
    "first, ms", "load, ms", "where", "runtime", "precision", "threads",
)  # fmt: skip


def latency_table(measured: Sequence[Measured]) -> Table:
    """One row for every entry: inferences for models, whole frames for pipelines."""
    shown = [one for one in measured if one.published]
    return Table(
        "Latency",
        LATENCY_COLUMNS,
        [_latency_row(one) for one in shown],
        [*left_out(measured), *_remarks(measured)],
    )


def _latency_row(one: Measured) -> list[str]:
    found = figures(one.inference if not one.is_pipeline else one.times(TOTAL))
    repeats = f" x {one.entry.repeats}" if one.entry.repeats > 1 else ""
    return [
        one.label,
        "frame" if one.is_pipeline else "inference",
        milliseconds(found.p50),
        milliseconds(found.p90),
        milliseconds(found.p99),
        milliseconds(found.spread),
        str(found.outliers),
        UNKNOWN if found.drift is None else f"{100 * found.drift:+.1f} %",
        f"{found.count}{repeats}",
        _waited(one),
        milliseconds(one.entry.first_ms),
        milliseconds(one.entry.load_ms),
        one.where,
        one.entry.runtime,
        one.precision,
        one.threads,
    ]


def _waited(one: Measured) -> str:
    """Share of the time in which other programs had the core."""
    whole = float(one.times(TOTAL).sum())
    return percent(sum(one.entry.waited_ms) / whole) if one.entry.waited_ms and whole else UNKNOWN


def _remarks(measured: Sequence[Measured]) -> Iterator[str]:
    for one in measured:
        if one.entry.partial is not None:
            yield f"'{one.label}' ended early: {one.entry.partial}"
        if not one.emulated and not one.entry.samples[TOTAL]:
            yield f"'{one.label}' has no samples"
        elif one.published and not one.entry.steady:
            yield (
                f"'{one.label}' had not settled after {one.entry.warmup_runs} runs of warm-up:"
                " its first samples may be slow"
            )


def ratio_tables(measured: Sequence[Measured]) -> list[Table]:
    """For every results file with several entries, their times over those of its first entry.

    On the host the samples of one round are paired; elsewhere nothing says that there were rounds, and the
    medians are compared.
    """
    tables = []
    for group in by_file(measured):
        shown = [one for one in group if one.published]
        if len(shown) < 2:
            continue
        first = shown[0]
        columns = ("", f"time / time of {first.label}", "95 % interval", "rounds")
        rows = [[other.label, *_ratio_cells(other, first)] for other in shown[1:]]
        tables.append(Table(f"Ratios: {first.where}", columns, rows))
    return tables


def _ratio_cells(over: Measured, under: Measured) -> list[str]:
    if over.results.lane.where == HOST:
        found = ratio(over.entry, under.entry)
        if found is None:
            return [UNKNOWN] * 3
        return [f"{found.median:.3f}", f"{found.low:.3f} to {found.high:.3f}", str(found.pairs)]
    above, below = figures(over.times(TOTAL)).p50, figures(under.times(TOTAL)).p50
    return [f"{above / below:.3f}" if below > 0 else UNKNOWN, "of medians", UNKNOWN]


def stage_tables(measured: Sequence[Measured]) -> list[Table]:
    """For every pipeline, its stages."""
    columns = (
        "stage", "mean per frame, ms", "share", "p50 where it ran, ms", "p90, ms", "p99, ms", "ran in",
    )  # fmt: skip
    tables = []
    for one in measured:
        if not one.published or not one.is_pipeline:
            continue
        whole = float(one.times(TOTAL).mean())
        rows = []
        for stage in one.entry.samples:
            times = one.times(stage)
            found, ran = stage_time(times), times[times > 0]
            order = figures(ran) if ran.size else None
            rows.append(
                [
                    STAGE_NAMES.get(stage, stage),
                    milliseconds(found.mean),
                    percent(found.mean / whole) if whole else UNKNOWN,
                    milliseconds(found.p50),
                    milliseconds(order.p90 if order else None),
                    milliseconds(order.p99 if order else None),
                    percent(found.share),
                ]
            )
        shares = [f"{name}: {percent(value)} of frames" for name, value in one.entry.shares.items()]
        notes = [", ".join(shares)] if shares else []
        tables.append(Table(f"Stages of {one.label}", columns, rows, notes))
    return tables
