"""What int32 arithmetic does with bits."""

from __future__ import annotations

import numpy as np
import pytest

LIMITS = np.iinfo(np.int32)
VALUES = np.array([LIMITS.min, LIMITS.min + 1, -256, -255, -2, -1, 0, 1, 2, 127, 128, LIMITS.max], np.int32)


def test_not(check, make_node_model):
    model = make_node_model("BitwiseNot", {"x": VALUES})
    check(model, {"x": VALUES}, rtol=0, atol=0, kinds=["mlprogram"])


@pytest.mark.parametrize("mask", [0, 1, 7, 255, 2**30 - 1])
def test_and_with_the_lowest_bits(check, make_node_model, mask):
    model = make_node_model("BitwiseAnd", {"x": VALUES}, {"mask": np.array(mask, np.int32)})
    check(model, {"x": VALUES}, rtol=0, atol=0, kinds=["mlprogram"])


def test_and_with_several_masks_in_front(check, make_node_model):
    feeds = {"x": np.tile(VALUES[:, None], 3)}
    masks = {"mask": np.array([1, 0, 63], np.int32)}
    model = make_node_model("BitwiseAnd", feeds, masks, order=["mask", "x"])
    check(model, feeds, rtol=0, atol=0, kinds=["mlprogram"])


@pytest.mark.parametrize("mask", [5, -1, LIMITS.max])
def test_other_masks_are_refused(refusals, make_node_model, mask):
    model = make_node_model("BitwiseAnd", {"x": VALUES}, {"mask": np.array(mask, np.int32)})
    assert "2**n - 1" in refusals(model)[0]


@pytest.mark.parametrize("op_type", ["BitwiseOr", "BitwiseXor"])
def test_or_and_xor_are_refused(refusals, make_node_model, op_type):
    model = make_node_model(op_type, {"a": VALUES, "b": VALUES})
    assert "no lowering to Core ML" in refusals(model)[0]
