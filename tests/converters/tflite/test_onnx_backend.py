"""The test cases of the ONNX project judge the converter: none may be wrong, and the counts are on record.

`python -m toolchain.benchmarks.onnx_backend` writes the same counts, and the reason of every refusal.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from toolchain.benchmarks.onnx_backend import counts, summary
from toolchain.benchmarks.onnx_backend_cases import Case, load_cases
from toolchain.benchmarks.onnx_backend_judge import PASSED, PASSED_WITH_CONSTANTS, REFUSED, WRONG, judge
from toolchain.benchmarks.onnx_backend_workers import judge_all

RECORD = Path(__file__).with_name("onnx_backend_counts.json")
REGENERATE = f"`python -m toolchain.benchmarks.onnx_backend` writes the counts.json to keep as {RECORD.name}"


@pytest.fixture(scope="module")
def verdicts():
    return judge_all(load_cases())


def test_no_case_is_wrong(verdicts, capsys):
    with capsys.disabled():
        sys.stdout.write(f"\n{summary(verdicts)}\n")
    wrong = [f"{verdict.case}: {verdict.detail}" for verdict in verdicts if verdict.outcome == WRONG]
    assert not wrong, "\n".join(wrong)


def test_every_refusal_has_a_reason(verdicts):
    refused = [verdict for verdict in verdicts if verdict.outcome == REFUSED]
    assert refused
    assert [v.case for v in refused if not v.refusals or not all(reason for _, reason in v.refusals)] == []


def test_counts_are_those_on_record(verdicts):
    found, record = counts(verdicts), json.loads(RECORD.read_text(encoding="utf-8"))
    if found["onnx"] == record["onnx"]:
        assert found == record, REGENERATE
        return
    # Another release of onnx brings more cases; what passed still has to.
    for section in ("totals", "ops"):
        for name, row in record[section].items():
            now = found[section].get(name, {})
            for outcomes in ((PASSED,), (PASSED, PASSED_WITH_CONSTANTS)):
                before, after = (sum(counted.get(key, 0) for key in outcomes) for counted in (row, now))
                assert after >= before, f"{name}: {after} cases {outcomes}, {before} on record. {REGENERATE}"


# The judge itself.


def relu_case(expected=None, **changes):
    """Relu of a 1x2x3x2 picture; `expected` replaces the right output."""
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 2, 3, 2)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [info("x", onnx.TensorProto.FLOAT, x.shape)],
        [info("y", onnx.TensorProto.FLOAT, x.shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    y = np.maximum(x, 0) if expected is None else expected(np.maximum(x, 0))
    case = Case("node", "relu", "Relu", model.SerializeToString(), (((x,), (y,)),), 1e-3, 1e-7)
    return replace(case, **changes)


@pytest.mark.parametrize(
    ("expected", "detail"),
    [
        (lambda y: y + np.float32(0.01), "Mismatched elements"),
        (lambda y: y.reshape(1, 2, 2, 3), "shape (1, 2, 3, 2) instead of (1, 2, 2, 3)"),
        (lambda y: y.astype(np.float64), "float32 instead of float64"),
        (lambda y: np.where(y == 0, np.float32(np.nan), y), "nan"),
        (lambda y: [y], "a tensor instead of list"),
    ],
    ids=["numbers", "shape", "type", "nan", "sequence"],
)
def test_another_output_is_wrong(expected, detail):
    verdict = judge(relu_case(expected))
    assert verdict.outcome == WRONG
    assert detail in verdict.detail


def test_the_right_output_passes():
    assert judge(relu_case()).outcome == PASSED


class OnArrival:
    """Calls a function in the process that unpickles it."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_a_dying_process_is_one_wrong_case():
    fatal = relu_case(data_sets=((OnArrival(os._exit, 3),),))
    verdicts = judge_all([relu_case(), fatal, relu_case()], workers=1)
    assert [verdict.outcome for verdict in verdicts] == [PASSED, WRONG, PASSED]
    assert "exit code 3" in verdicts[1].detail


def test_a_hanging_process_is_a_wrong_case():
    (verdict,) = judge_all([relu_case(data_sets=((OnArrival(time.sleep, 600),),))], timeout=0.5)
    assert verdict.outcome == WRONG
    assert "no result" in verdict.detail
