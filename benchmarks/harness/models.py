"""Measure model files and networks: from their names to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from toolchain.benchmarks.environment import load_average
from toolchain.benchmarks.harness.contenders import ModelContender, open_contenders
from toolchain.benchmarks.harness.host import host_results
from toolchain.benchmarks.harness.inputs import Shapes
from toolchain.benchmarks.harness.measure import Options, measure
from toolchain.benchmarks.harness.profile import profile
from toolchain.benchmarks.harness.results import MODEL, Entry, Results
from toolchain.errors import ToolchainError


def measure_models(
    artifacts: Sequence[str],
    options: Options,
    command: Sequence[str],
    shapes: Shapes = None,
    profiled: bool = False,
    on_stage: Callable[[str], None] = lambda _stage: None,
) -> Results:
    """Measure artefacts against each other on this computer.

    Args:
        artifacts: as for `open_contenders`.
        options: how long, threads, seed.
        command: the words of the command line, for the record.
        shapes: as for `random_inputs`.
        profiled: take the operators' times as well, after the measurement; what has no profile says so in
            `Results.profile_note`.
        on_stage: told what goes on, for a progress line.

    Raises:
        UsageError: no such file or network, or an option out of range.
        UnsupportedError: a file that its runtime cannot run.
        MissingDependencyError: the runtime is not installed.
    """
    before = load_average()
    contenders = open_contenders(artifacts, options, shapes)
    measured = measure(contenders, options, on_stage)
    entries = [
        found.as_entry(contender.runtime, contender.threads, contender.file)
        for contender, found in zip(contenders, measured, strict=True)
    ]
    note = None
    if profiled:
        entries, note = _profiled(contenders, entries, options, shapes, on_stage)
    timed = {contender.name: contender.timed for contender in contenders}
    settings = {**options.as_settings(), "timed": timed, "input_shapes": _written(shapes)}
    return host_results(MODEL, command, settings, entries, before, note)


def _profiled(
    contenders: Sequence[ModelContender],
    entries: Sequence[Entry],
    options: Options,
    shapes: Shapes,
    on_stage: Callable[[str], None],
) -> tuple[list[Entry], str]:
    found, remarks = [], []
    for contender, entry in zip(contenders, entries, strict=True):
        on_stage(f"profiling {entry.name}")
        try:
            made = profile(Path(contender.artifact), options.threads, options.seed, shapes)
        except ToolchainError as error:
            remarks.append(f"{entry.name}: no profile, {error.message}")
            found.append(entry)
            continue
        remarks.append(made.note)
        found.append(replace(entry, operators=made.operators))
    return found, "; ".join(dict.fromkeys(remarks))


def _written(shapes: Shapes) -> object:
    """For the settings, as JSON can express it."""
    if shapes is None or isinstance(shapes, tuple):
        return shapes and list(shapes)
    return {name: list(shape) for name, shape in shapes.items()}
