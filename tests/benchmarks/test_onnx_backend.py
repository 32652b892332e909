"""What the judge does around conversions: which cases, which counts, which arguments."""

import json

import pytest

from toolchain.benchmarks.onnx_backend import counts, counts_text, main, record, report
from toolchain.benchmarks.onnx_backend_cases import Case, sample
from toolchain.benchmarks.onnx_backend_engine import TARGETS, engine
from toolchain.benchmarks.onnx_backend_judge import Verdict


def case(name, op):
    return Case("node", name, op, b"", (), 1e-3, 1e-7)


CASES = [case(f"add_{index}", "Add") for index in range(5)] + [case("relu", "Relu")]


@pytest.mark.parametrize(
    ("per_operator", "names"),
    [
        (1, ["add_0", "relu"]),
        (2, ["add_0", "add_2", "relu"]),
        (5, ["add_0", "add_1", "add_2", "add_3", "add_4", "relu"]),
    ],
)
def test_a_sample_is_spread_over_the_cases_of_an_operator(per_operator, names):
    assert [case.name for case in sample(CASES, per_operator)] == names


def test_counts_of_the_sample_stand_beside_the_counts_of_all():
    verdicts = [Verdict("node", c.name, c.op, "passed" if c.name < "add_3" else "refused") for c in CASES]
    found = record(CASES, verdicts, 2)
    assert found["totals"]["node"] == {"passed": 3, "passed_with_constants": 0, "refused": 3, "wrong": 0}
    assert found["ops"] == {"Add": {"passed": 3, "refused": 2}, "Relu": {"refused": 1}}
    assert found["sample"] == {"Add": {"passed": 2}, "Relu": {"refused": 1}}
    assert json.loads(counts_text(found)) == found
    assert record(CASES, verdicts, 0) == counts(verdicts)


def test_the_report_counts_remarks():
    verdicts = [Verdict("node", name, "Add", "passed", note="iOS 16") for name in ("add_1", "add_2")]
    text = report(verdicts, "Core ML")
    assert text.startswith("# ONNX backend cases through Core ML\n")
    assert "| Add | iOS 16 | 2 |" in text


def test_every_target_has_an_engine():
    assert len({engine(target).title for target in TARGETS}) == len(TARGETS) == 3


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_writes_counts_cases_and_a_report(target, tmp_path, capsys, monkeypatch):
    cases = [case("relu", "Relu"), case("relu_other", "Relu"), case("add", "Add")]
    monkeypatch.setattr("toolchain.benchmarks.onnx_backend.load_cases", lambda kinds: cases)
    options = ["--kind", "node", "--only", "relu", "--workers", "1", "--output", str(tmp_path)]
    # A case without data is wrong for every engine.
    assert main(["--target", target, *options]) == 1
    assert capsys.readouterr().out.startswith("node: 2 cases, 0 passed")
    assert json.loads((tmp_path / "counts.json").read_text())["ops"] == {"Relu": {"wrong": 2}}
    entries = json.loads((tmp_path / "cases.json").read_text())
    assert [(entry["op"], entry["detail"]) for entry in entries] == [("Relu", "the case has no data")] * 2
    assert engine(target).title in (tmp_path / "report.md").read_text()
