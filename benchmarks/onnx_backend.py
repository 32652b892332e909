"""The operator test cases of the ONNX project as the judge of the converters.

    python -m toolchain.benchmarks.onnx_backend --target tflite --output build/onnx_backend

Every case of `onnx.backend.test` goes the way of a file given to `toolchain export`: load, clean, convert,
run, compare with the stored outputs. For TFLite in both layouts, by LiteRT with and without XNNPACK; for
Core ML (`coreml`, `mlmodel`) in float32, by the reference runtime. A case is

    passed                  computed as it stands
    passed_with_constants   computed once inputs that the target wants in the file (shapes, axes, pads,
                            weights) are constants of the graph, as in any network; the data stay an input
    refused                 a ToolchainError says what is not supported
    wrong                   other numbers, shapes or types, or anything that breaks on the way; never allowed

Writes `counts.json` (what tests compare), `cases.json` (one entry a case) and `report.md` (refusals by
operator and reason).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolchain.benchmarks.onnx_backend_cases import KINDS, Case, load_cases, sample
from toolchain.benchmarks.onnx_backend_engine import TARGETS, engine
from toolchain.benchmarks.onnx_backend_judge import OUTCOMES, PASSED_WITH_CONSTANTS, WRONG, Verdict
from toolchain.benchmarks.onnx_backend_workers import judge_all

WORKERS = 2
# A kind with hundreds of operators is counted per operator, the others as a whole.
PER_OPERATOR = "node"


def counts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What a run amounts to.

    Returns:
        `onnx`: version of the package that the cases come from; `totals`: kind -> outcome -> cases;
        `ops`: operator -> outcome -> cases, for the node cases, outcomes that occur only.
    """
    import onnx

    totals: dict[str, Counter[str]] = defaultdict(Counter)
    ops: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in verdicts:
        totals[verdict.kind][verdict.outcome] += 1
        if verdict.kind == PER_OPERATOR:
            ops[verdict.op][verdict.outcome] += 1
    return {
        "onnx": onnx.__version__,
        "totals": {kind: {name: totals[kind][name] for name in OUTCOMES} for kind in sorted(totals)},
        "ops": {
            op: {name: found[name] for name in OUTCOMES if found[name]} for op, found in sorted(ops.items())
        },
    }


def record(cases: Sequence[Case], verdicts: Sequence[Verdict], sampled: int) -> dict[str, Any]:
    """`counts`, and as `sample` those of the node cases that the tests judge, if these are not all."""
    found = counts(verdicts)
    if sampled:
        names = {case.name for case in sample([c for c in cases if c.kind == PER_OPERATOR], sampled)}
        found["sample"] = counts([v for v in verdicts if v.kind == PER_OPERATOR and v.case in names])["ops"]
    return found


def counts_text(found: dict[str, Any]) -> str:
    """`record` as JSON with one line per operator, so that a change of one shows as one line."""
    lines = []
    for section in [name for name in ("totals", "ops", "sample") if name in found]:
        rows = [f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in found[section].items()]
        lines.append(f"  {json.dumps(section)}: {{\n" + ",\n".join(rows) + "\n  }")
    return "{\n" + f'  "onnx": {json.dumps(found["onnx"])},\n' + ",\n".join(lines) + "\n}\n"


def summary(verdicts: Sequence[Verdict]) -> str:
    """One line per kind of cases."""
    totals = counts(verdicts)["totals"]
    return "\n".join(
        f"{kind}: {sum(row.values())} cases, "
        + ", ".join(f"{row[name]} {name.replace('_', ' ')}" for name in OUTCOMES)
        for kind, row in totals.items()
    )


def report(verdicts: Sequence[Verdict], title: str) -> str:
    """Markdown: totals, wrong cases, refusals by operator and reason, inputs that had to be constants."""
    totals = counts(verdicts)["totals"]
    parts = [
        f"# ONNX backend cases through {title}",
        _table(("kind", *OUTCOMES), [(kind, *row.values()) for kind, row in totals.items()]),
    ]
    wrong = [(v.kind, v.case, v.detail) for v in verdicts if v.outcome == WRONG]
    parts += ["## Wrong", _table(("kind", "case", "what"), wrong) if wrong else "None."]
    parts += ["## Refused", _table(("operator", "reason", "cases", "for instance"), _refusal_rows(verdicts))]
    constants = Counter(
        (v.op, ", ".join(v.constants)) for v in verdicts if v.outcome == PASSED_WITH_CONSTANTS
    )
    rows = [(op, names, count) for (op, names), count in sorted(constants.items())]
    parts += ["## Passed once these inputs were constants", _table(("operator", "inputs", "cases"), rows)]
    notes = Counter((v.op, v.note) for v in verdicts if v.note)
    if notes:
        rows = [(op, note, count) for (op, note), count in sorted(notes.items())]
        parts += ["## Passed with a remark", _table(("operator", "remark", "cases"), rows)]
    return "\n\n".join(parts) + "\n"


def _refusal_rows(verdicts: Iterable[Verdict]) -> list[tuple[str, str, int, str]]:
    """Rows (operator, reason, cases, first case), the most frequent operator first."""
    cases: dict[tuple[str, str], list[str]] = defaultdict(list)
    for verdict in verdicts:
        for op, reason in {(op, reason) for op, reason in verdict.refusals}:
            cases[op, reason].append(verdict.case)
    weight: Counter[str] = Counter()
    for (op, _), names in cases.items():
        weight[op] += len(names)
    rows = [(op, reason, len(names), names[0]) for (op, reason), names in cases.items()]
    return sorted(rows, key=lambda row: (-weight[row[0]], row[0], -row[2], row[1]))


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all cases and write the report; exit status 1 when one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=TARGETS, default=TARGETS[0], help="what to convert to")
    parser.add_argument("--output", type=Path, default=Path("build/onnx_backend"), help="folder to write to")
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="kind of cases; default: all; repeatable"
    )
    parser.add_argument("--only", default="", help="judge the cases whose name contains this")
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes")
    options = parser.parse_args(arguments)
    cases: list[Case] = load_cases(options.kind or KINDS)
    cases = [case for case in cases if options.only in case.name]
    verdicts = judge_all(cases, options.target, options.workers)
    options.output.mkdir(parents=True, exist_ok=True)
    judging = engine(options.target)
    counted = counts_text(record(cases, verdicts, judging.sampled))
    (options.output / "counts.json").write_text(counted, encoding="utf-8")
    entries = [asdict(verdict) for verdict in verdicts]
    (options.output / "cases.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (options.output / "report.md").write_text(report(verdicts, judging.title), encoding="utf-8")
    sys.stdout.write(summary(verdicts) + "\n")
    return int(any(verdict.outcome == WRONG for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
