"""Errors carry their exit code and hint; refused nodes are grouped into rows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain import errors
from toolchain.errors import Refusal, ToolchainError, UnsupportedError, UnsupportedOpsError

EXIT_CODES = {
    "ToolchainError": 1,
    "UsageError": 2,
    "UnsupportedError": 3,
    "UnsupportedOpsError": 3,
    "ParityError": 4,
    "RegressionError": 5,
    "MissingDependencyError": 6,
}
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, Exception)
}


def test_every_error_has_a_stated_exit_code():
    assert {name: kind.exit_code for name, kind in CLASSES.items()} == EXIT_CODES
    assert all(issubclass(kind, ToolchainError) for kind in CLASSES.values())


@pytest.mark.parametrize("name", sorted(set(EXIT_CODES) - {"UnsupportedOpsError"}))
def test_message_and_hint_are_kept(name):
    error = CLASSES[name]("what is wrong", "what to do")
    assert str(error) == error.message == "what is wrong"
    assert error.hint == "what to do"
    assert CLASSES[name]("what is wrong").hint == ""


def test_one_error_may_have_its_own_exit_code():
    assert UnsupportedError("x", exit_code=9).exit_code == 9
    assert UnsupportedError.exit_code == 3


LOOP = Refusal("Loop", "loop_1", "control flow", "unroll it")
REFUSALS = [
    LOOP,
    Refusal("Resize", "up_1", "cubic mode"),
    Refusal("Resize", "up_2", "antialias", "leave antialias out"),
    Refusal("Resize", "up_3", "cubic mode", "use linear"),
    Refusal("com.example::Fancy", "fancy", "unknown operator"),
]


def test_rows_are_one_per_operator_and_reason_in_order():
    assert UnsupportedOpsError(REFUSALS, "TFLite").rows() == [
        ("Loop", 1, "loop_1", "control flow", "unroll it"),
        ("Resize", 1, "up_2", "antialias", "leave antialias out"),
        ("Resize", 2, "up_1", "cubic mode", ""),
        ("com.example::Fancy", 1, "fancy", "unknown operator", ""),
    ]


def test_message_counts_names_and_shows_the_first():
    error = UnsupportedOpsError(REFUSALS, "TFLite")
    assert error.message == (
        "5 node(s) cannot be lowered to TFLite: Loop, Resize, com.example::Fancy"
        " (first: 'loop_1': control flow)"
    )
    assert error.hint == "unroll it"
    assert error.refusals == REFUSALS
    assert error.target == "TFLite"


def test_without_a_hint_of_its_own_the_general_one_is_given():
    error = UnsupportedOpsError([Refusal("Loop", "loop_1", "control flow")], "Core ML")
    assert error.hint == "replace the operator in the network, or export with -f onnx"


WORDS = st.sampled_from(["Add", "Loop", "Scan", ""])


@settings(deadline=None)
@given(st.lists(st.builds(Refusal, op=WORDS, node=st.text(), reason=WORDS, hint=st.text()), min_size=1))
def test_rows_account_for_every_refused_node(refusals):
    rows = UnsupportedOpsError(refusals, "TFLite").rows()
    kinds = [(row[0], row[3]) for row in rows]
    assert kinds == sorted({(refusal.op, refusal.reason) for refusal in refusals})
    for op, count, first, reason, hint in rows:
        members = [refusal for refusal in refusals if (refusal.op, refusal.reason) == (op, reason)]
        assert count == len(members)
        assert (first, hint) == (members[0].node, members[0].hint)
