"""A sample of ONNX's operator cases judges the Core ML converter: none may be wrong, counts are on record.

`python -P -m toolchain.benchmarks.onnx_backend --target coreml` judges all of them, and writes the same
counts and the reason of every refusal.
"""

import json
import sys
from pathlib import Path

import pytest

from toolchain.benchmarks.onnx_backend import counts, summary
from toolchain.benchmarks.onnx_backend_cases import load_cases, sample
from toolchain.benchmarks.onnx_backend_engine import engine
from toolchain.benchmarks.onnx_backend_judge import OUTCOMES, PASSED, PASSED_WITH_CONSTANTS, REFUSED, WRONG
from toolchain.benchmarks.onnx_backend_workers import judge_all

RECORD = Path(__file__).with_name("onnx_backend_counts.json")
REGENERATE = (
    "`python -P -m toolchain.benchmarks.onnx_backend --target coreml` writes the counts.json to keep as"
    f" {RECORD.name}"
)


@pytest.fixture(scope="module")
def on_record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def verdicts():
    return judge_all(sample(load_cases(("node",)), engine("coreml").sampled), "coreml")


def test_no_case_is_wrong(verdicts, capsys):
    with capsys.disabled():
        sys.stdout.write(f"\n{summary(verdicts)}\n")
    wrong = [f"{verdict.case}: {verdict.detail}" for verdict in verdicts if verdict.outcome == WRONG]
    assert not wrong, "\n".join(wrong)


def test_every_refusal_has_a_reason(verdicts):
    refused = [verdict for verdict in verdicts if verdict.outcome == REFUSED]
    assert refused
    assert [v.case for v in refused if not v.refusals or not all(reason for _, reason in v.refusals)] == []


def test_counts_are_those_on_record(verdicts, on_record):
    found = counts(verdicts)
    if found["onnx"] == on_record["onnx"]:
        assert found["ops"] == on_record["sample"], REGENERATE
        return
    # Another release of onnx brings more cases, and so another sample; what passed altogether still has to.
    for op, row in on_record["ops"].items():
        if set(row) <= {PASSED, PASSED_WITH_CONSTANTS}:
            assert REFUSED not in found["ops"].get(op, {}), f"{op} is refused now. {REGENERATE}"


def test_nothing_on_record_is_wrong(on_record):
    assert all(set(row) == set(OUTCOMES) and row[WRONG] == 0 for row in on_record["totals"].values())
    assert all(WRONG not in row for row in on_record["ops"].values())
