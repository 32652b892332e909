"""Sequences whose members are known become plain tensors."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.graph.unpack_sequences import unpack_sequences

ONE, TWO, SIZES = np.array(1), np.array(2), np.array([1, 4])
CASES = [
    ("s = SplitToSequence<axis=1>(x, two) a = SequenceAt(s, one) y = Neg(a)", {"Split": 1, "Neg": 1}),
    ("s = SplitToSequence<axis=-1>(x, sizes) a = SequenceAt(s, last) y = Neg(a)", {"Split": 1, "Neg": 1}),
    ("s = SplitToSequence<axis=1>(x) a = SequenceAt(s, two) y = Neg(a)", {"Split": 1, "Neg": 1}),
    ("s = SplitToSequence<axis=1, keepdims=0>(x) a = SequenceAt(s, one) y = Neg(a)",
     {"Split": 1, "Squeeze": 5, "Neg": 1}),
    ("s = SplitToSequence<axis=1>(x, two) a = SequenceAt(s, one) b = SequenceAt(s, zero) y = Sub(a, b)",
     {"Split": 1, "Sub": 1}),
    ("s = SplitToSequence<axis=1>(x, two) y = SequenceAt(s, one)", {"Split": 1}),
    ("n = Neg(x) s = SequenceConstruct(x, n) y = SequenceAt(s, one)", {"Neg": 1}),
    ("s = SequenceConstruct(x, x) y = SequenceAt(s, one)", {"Identity": 1}),
    ("n = Neg(x) s = SequenceConstruct(x, n) y = ConcatFromSequence<axis=1>(s)", {"Neg": 1, "Concat": 1}),
    ("n = Neg(x) s = SequenceConstruct(x, n) y = ConcatFromSequence<axis=0, new_axis=1>(s)",
     {"Neg": 1, "Unsqueeze": 2, "Concat": 1}),
    ("n = Neg(x) s = SequenceConstruct(x, n) y = ConcatFromSequence<axis=-1, new_axis=1>(s)",
     {"Neg": 1, "Unsqueeze": 2, "Concat": 1}),
    ("s = SplitToSequence<axis=1>(x, two) l = SequenceLength(s) f = Cast<to=1>(l) y = Mul(x, f)",
     {"Split": 1, "Identity": 1, "Cast": 1, "Mul": 1}),
    ("s = SplitToSequence<axis=1>(x, two) e = SequenceErase(s, zero) y = SequenceAt(e, zero)",
     {"SplitToSequence": 1, "SequenceErase": 1, "SequenceAt": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wanted"), CASES, ids=[body for body, _ in CASES])
def test_readers_read_the_members(graphs, body, wanted):
    constants = {"zero": np.array(0), "one": ONE, "two": TWO, "last": np.array(-1), "sizes": SIZES}
    used = {name: array for name, array in constants.items() if name in body}
    model = graphs.build(f"(float[2,5] x) => (float y) {{ {body} }}", **used)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    graphs.judge(unpack_sequences, model, wanted)


def test_clean_gives_the_parts_their_shapes(graphs):
    before = graphs.build(
        """(float[1,4,6,6] x) => (float[1,4,6,6] y) {
            s = SplitToSequence<axis=1>(x, two)
            a = SequenceAt(s, zero)
            b = SequenceAt(s, one)
            c = Relu(b)
            y = Concat<axis=1>(c, a)
        }""",
        zero=np.array(0), one=ONE, two=TWO,
    )  # fmt: skip
    model = graphs.clean(before)
    assert graphs.ops(model) == {"Split": 1, "Relu": 1, "Concat": 1}
    graphs.assert_same(before, model)
