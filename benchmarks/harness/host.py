"""Results of a measurement on this computer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from toolchain.benchmarks.environment import cpu_model, environment, load_average
from toolchain.benchmarks.harness.results import HOST, Entry, Lane, Results


def host_lane(load_before: list[float] | None = None) -> Lane:
    """The processor of this computer, with the load average of 1, 5 and 15 minutes before and now."""
    return Lane(HOST, cpu_model(), {"load_before": load_before, "load_after": load_average()})


def host_results(
    kind: str,
    command: Sequence[str],
    settings: dict[str, Any],
    entries: Sequence[Entry],
    load_before: list[float] | None = None,
    profile_note: str | None = None,
) -> Results:
    """What was measured on this computer, now.

    Args:
        kind: "model" or "pipeline".
        command: the words of the command line.
        settings: what was asked for.
        entries: what was found.
        load_before: `load_average()` before the measurement.
        profile_note: how the operators' times were obtained.
    """
    return Results(
        kind=kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(command),
        lane=host_lane(load_before),
        machine=environment(),
        settings=settings,
        entries=list(entries),
        profile_note=profile_note,
    )
