"""How `toolchain benchmark` shows latencies."""

from __future__ import annotations

from toolchain.benchmarks.harness.contender import TOTAL
from toolchain.benchmarks.harness.figures import figures, notes, own_memory, ratio, waited
from toolchain.benchmarks.harness.results import Entry, Results
from toolchain.cli.output import say, show_table

COLUMNS = (
    "name", "runtime", "threads", "load", "first", "p50", "p90", "p99", "spread", "outliers", "drift",
    "waited", "memory", "ratio",
)  # fmt: skip
# Operators that are shown of each entry; the results file has all.
SHOWN_OPERATORS = 12
UNKNOWN = "-"


def show_results(results: Results) -> None:
    """The table, what was timed, what is to be known before trusting a row, and operators."""
    first = results.entries[0]
    show_table("", COLUMNS, [_row(entry, first, results) for entry in results.entries])
    rounds = max(len(entry.samples[TOTAL]) for entry in results.entries)
    say(f"on {results.lane.name}; times in ms, memory in MB, {rounds} samples each")
    if len(results.entries) > 1:
        less = " less what was waited for a core" if first.waited_ms else ""
        say(f"ratio: time{less} / that of {first.name} in the same round, 95 % interval over the rounds")
    timed = results.settings.get("timed") or {}
    for words in dict.fromkeys(timed.values()):
        say(f"timed: {words}")
    for entry in results.entries:
        for remark in notes(entry):
            say(f"note: {entry.name}: {remark}")
    for entry in results.entries:
        _show_operators(entry)
    if results.profile_note:
        say(f"operators: {results.profile_note}")


def _row(entry: Entry, first: Entry, results: Results) -> tuple[str, ...]:
    total = figures(entry.samples[TOTAL])
    memory, share = own_memory(entry), waited(entry)
    return (
        entry.name,
        entry.runtime,
        UNKNOWN if entry.threads is None else str(entry.threads),
        _ms(entry.load_ms),
        _ms(entry.first_ms),
        _ms(total.p50),
        _ms(total.p90),
        _ms(total.p99),
        _ms(total.spread),
        str(total.outliers),
        UNKNOWN if total.drift is None else f"{total.drift:+.1%}",
        UNKNOWN if share is None else f"{share:.0%}",
        UNKNOWN if memory is None else f"{memory:.1f}",
        _ratio(entry, first, results),
    )


def _ratio(entry: Entry, first: Entry, results: Results) -> str:
    if entry is first:
        return "1"
    found = ratio(entry, first, seed=results.settings.get("seed", 0))
    return UNKNOWN if found is None else f"{found.median:.3f} ({found.low:.3f} to {found.high:.3f})"


def _show_operators(entry: Entry) -> None:
    if entry.operators is None:
        return
    shown = entry.operators[:SHOWN_OPERATORS]
    rows = [(row["op"], row["name"], _ms(row["ms"]), f"{row['share']:.1%}") for row in shown]
    left = len(entry.operators) - len(shown)
    say(f"{entry.name}: slowest operators" + (f", {left} more in the results file" if left > 0 else ""))
    show_table("", ("op", "name", "ms", "share"), rows)


def _ms(value: float) -> str:
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.4f}"
