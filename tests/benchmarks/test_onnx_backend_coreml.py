"""The Core ML engine: types at the border of a file, the iOS that is needed, and what is wrong."""

import numpy as np
import onnx
import pytest
from onnx import helper

from toolchain.benchmarks.onnx_backend_cases import Case
from toolchain.benchmarks.onnx_backend_coreml import KINDS, CoreMLEngine
from toolchain.benchmarks.onnx_backend_judge import PASSED, REFUSED, WRONG, judge
from toolchain.errors import Refusal, UnsupportedOpsError
from toolchain.runtimes.coreml import CoreMLRuntime

FLOATS = np.linspace(-2, 2, 12, dtype=np.float32).reshape(1, 2, 3, 2)
INTEGERS = np.arange(-6, 6, dtype=np.int64).reshape(3, 4)


def node_case(op, inputs, expected, **attributes):
    """A case of one node."""
    names = [f"x{index}" for index in range(len(inputs))]
    node = helper.make_node(op, names, ["y"], **attributes)
    dtypes = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        [node],
        "case",
        [
            helper.make_tensor_value_info(n, dtypes(x.dtype), x.shape)
            for n, x in zip(names, inputs, strict=True)
        ],
        [helper.make_tensor_value_info("y", dtypes(expected.dtype), expected.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    data = ((tuple(inputs), (expected,)),)
    return Case("node", op.lower(), op, model.SerializeToString(), data, 1e-3, 1e-7)


@pytest.mark.parametrize("target", KINDS)
def test_the_right_output_passes(target):
    verdict = judge(node_case("Relu", [FLOATS], np.maximum(FLOATS, 0)), target)
    assert (verdict.outcome, verdict.note) == (PASSED, "")


@pytest.mark.parametrize("target", KINDS)
def test_another_output_is_wrong(target):
    verdict = judge(node_case("Relu", [FLOATS], np.maximum(FLOATS, 0.01)), target)
    assert verdict.outcome == WRONG
    assert "Mismatched elements" in verdict.detail


@pytest.mark.parametrize(
    ("op", "inputs", "expected"),
    [
        ("Add", [INTEGERS, INTEGERS], INTEGERS * 2),
        ("Add", [INTEGERS.astype(np.int32)] * 2, (INTEGERS * 2).astype(np.int32)),
        ("Greater", [FLOATS, -FLOATS], FLOATS > -FLOATS),
        ("And", [FLOATS > 0, FLOATS > 1], FLOATS > 1),
        ("Not", [FLOATS > 0], FLOATS <= 0),
    ],
    ids=["int64", "int32", "bool-output", "bool-inputs", "bool"],
)
def test_integers_and_booleans_cross_the_border_as_int32(op, inputs, expected):
    assert judge(node_case(op, inputs, expected), "coreml").outcome == PASSED


@pytest.mark.parametrize(
    ("op", "inputs", "expected", "attributes"),
    [
        ("ArgMax", [FLOATS], FLOATS.argmax(2), {"axis": 2, "keepdims": 0}),
        ("Greater", [FLOATS, -FLOATS], FLOATS > -FLOATS, {}),
        ("ReduceMax", [FLOATS], FLOATS.max(), {"keepdims": 0}),
    ],
    ids=["int64", "bool", "scalar"],
)
def test_a_neural_network_returns_arrays_of_floats(op, inputs, expected, attributes):
    assert judge(node_case(op, inputs, np.asarray(expected), **attributes), "mlmodel").outcome == PASSED


@pytest.mark.parametrize(
    ("expected", "detail"),
    [
        (INTEGERS * 2 + 1, "Mismatched elements"),
        ((INTEGERS * 2).astype(np.float32), "int32 instead of float32"),
        ((INTEGERS * 2).astype(np.int16), "int32 instead of int16"),
    ],
    ids=["numbers", "float", "int16"],
)
def test_only_int64_and_bool_become_int32(expected, detail):
    case = node_case("Add", [INTEGERS, INTEGERS], INTEGERS * 2)
    data = ((case.data_sets[0][0], (expected,)),)
    verdict = judge(Case("node", "add", "Add", case.model, data, 1e-3, 1e-7), "coreml")
    assert verdict.outcome == WRONG
    assert detail in verdict.detail


@pytest.mark.parametrize("role", ["x1", "output 0"])
def test_integers_beyond_32_bits_are_refused(role):
    huge = INTEGERS + 2**31
    inputs, expected = ([INTEGERS, huge], INTEGERS) if role == "x1" else ([INTEGERS, INTEGERS], huge)
    verdict = judge(node_case("Add", inputs, expected), "coreml")
    assert verdict.outcome == REFUSED
    assert verdict.refusals == (("Add", f"the data of '{role}' do not fit into int32"),)


def test_a_boolean_is_0_or_1(monkeypatch):
    run = CoreMLRuntime.run
    monkeypatch.setattr(CoreMLRuntime, "run", lambda self, x: {n: y * 2 for n, y in run(self, x).items()})
    verdict = judge(node_case("Not", [FLOATS > 0], FLOATS <= 0), "coreml")
    assert verdict.outcome == WRONG
    assert "an output of bool has other values" in verdict.detail


@pytest.mark.parametrize(("needed", "note"), [(16, "iOS 16"), (18, "iOS 18")])
def test_an_operator_that_needs_a_newer_ios_is_converted_for_it(needed, note, monkeypatch):
    convert, asked = CoreMLEngine._convert, []

    def needing(self, trial, ios):
        asked.append(ios)
        if (ios or 15) < needed:
            reasons = ["no lowering to Core ML at all", f"the operator needs iOS {needed}"]
            raise UnsupportedOpsError([Refusal("Relu", "", reason, "") for reason in reasons], "Core ML")
        return convert(self, trial, ios)

    monkeypatch.setattr(CoreMLEngine, "_convert", needing)
    verdict = judge(node_case("Relu", [FLOATS], np.maximum(FLOATS, 0)), "coreml")
    assert (verdict.outcome, verdict.note) == (PASSED, note)
    assert asked == [None, needed]


def test_a_refusal_that_no_ios_lifts_is_a_refusal(monkeypatch):
    def refusing(self, trial, ios):
        raise UnsupportedOpsError([Refusal("Relu", "", "the operator needs iOS 18", "")], "Core ML")

    monkeypatch.setattr(CoreMLEngine, "_convert", refusing)
    verdict = judge(node_case("Relu", [FLOATS], np.maximum(FLOATS, 0)), "coreml")
    assert verdict.refusals == (("Relu", "the operator needs iOS 18"),)
