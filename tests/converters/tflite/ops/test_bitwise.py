"""Bits of integers, against numpy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

WHOLE = ("int8", "uint8", "int16", "uint16", "int32", "uint32")
SHORT = WHOLE[:4]
LOGIC = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}
SIGNED_SHIFTS = 26


def integers(rng, dtype, shape):
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize(
    ("op_type", "dtype"),
    [("BitwiseXor", dtype) for dtype in WHOLE]
    + [(op_type, dtype) for op_type in ("BitwiseAnd", "BitwiseOr") for dtype in SHORT],
)
def test_logic(run_both, make_node_model, rng, op_type, dtype):
    feeds = {"a": integers(rng, dtype, (2, 3, 4, 5)), "b": integers(rng, dtype, (3, 1, 5))}
    _, found, _ = run_both(make_node_model(op_type, feeds), feeds)
    np.testing.assert_array_equal(found["y"], LOGIC[op_type](feeds["a"], feeds["b"]))
    assert found["y"].dtype == dtype


@pytest.mark.parametrize("dtype", WHOLE)
def test_not(run_both, make_node_model, rng, dtype):
    feeds = {"x": integers(rng, dtype, (40,))}
    _, found, _ = run_both(make_node_model("BitwiseNot", feeds), feeds)
    np.testing.assert_array_equal(found["y"], ~feeds["x"])


@pytest.mark.parametrize(("op_type", "dtype"), [("BitwiseAnd", "int32"), ("BitwiseOr", "uint64")])
def test_refused_logic(refusals, make_node_model, rng, op_type, dtype):
    feeds = {"a": integers(rng, dtype, (3,)), "b": integers(rng, dtype, (3,))}
    assert dtype in refusals(make_node_model(op_type, feeds))[0]


def shifted(x, amount, direction):
    """The shift in Python's integers, which have no end."""
    bits, limits = 8 * x.dtype.itemsize, np.iinfo(x.dtype)
    count = amount if 0 <= amount < bits else bits
    if direction == "RIGHT":
        return int(x) >> int(count)
    wrapped = (int(x) << int(count)) % (1 << bits)
    return wrapped - (1 << bits) if wrapped > limits.max else wrapped


@given(data=st.data(), dtype=st.sampled_from(WHOLE), direction=st.sampled_from(["LEFT", "RIGHT"]))
@settings(max_examples=40, deadline=None)
def test_shifts(run_both, make_node_model, data, dtype, direction):
    limits = np.iinfo(dtype)
    whole = st.integers(int(limits.min), int(limits.max))
    some = st.integers(max(int(limits.min), -40), 40)
    pairs = data.draw(st.lists(st.tuples(whole, some), min_size=1, max_size=8))
    x, amount = (np.array(column, dtype) for column in zip(*pairs, strict=True))
    model = make_node_model("BitShift", {"x": x, "n": amount}, opset=SIGNED_SHIFTS, direction=direction)
    _, found, _ = run_both(model, {"x": x, "n": amount})
    wanted = [shifted(a, n, direction) for a, n in zip(x, amount, strict=True)]
    assert found["y"].tolist() == wanted


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float32", "int32"),
        ("int32", "float32"),
        ("int8", "uint8"),
        ("uint16", "int16"),
        ("float32", "uint32"),
    ],
)
def test_bit_cast(run_both, make_node_model, rng, source, target):
    x = rng.integers(0, 100, (2, 3, 4)).astype(source)
    to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(target))
    _, found, _ = run_both(make_node_model("BitCast", {"x": x}, opset=SIGNED_SHIFTS, to=to), {"x": x})
    np.testing.assert_array_equal(found["y"], x.view(target))
