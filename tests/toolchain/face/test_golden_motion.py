"""Golden cases of the previous mask, answered by toolchain.face.motion at the sizes of the cases."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from toolchain.face import motion
from toolchain.face.golden import text_of
from toolchain.face.golden_cases import decoded
from toolchain.face.golden_motion import (
    FLOW_SIDE,
    SIDE,
    carried,
    previous_mask_cases,
    smooth_mask,
)

# OpenCV interpolates between pixels in steps of 1 / 32, and the masks rise by 0.1 a pixel.
STEPS = 0.01


def cases(function: str) -> list:
    return [
        pytest.param(entry, id=entry["name"])
        for entry in previous_mask_cases()
        if entry["function"] == function
    ]


@pytest.fixture
def flows(monkeypatch: pytest.MonkeyPatch):
    """Sets the flow that the engine finds from the first grey to the second one, and back."""

    def use(there: np.ndarray | None, back: np.ndarray | None, before: np.ndarray) -> None:
        zero = np.zeros((*before.shape, 2), np.float32)
        told = [flow if flow is not None else zero for flow in (there, there, back)]
        monkeypatch.setattr(motion, "flow_between", lambda _before, _now, _finest=0: told.pop(0))

    return use


@pytest.mark.parametrize("entry", cases("shrink"))
def test_shrunk_masks(entry: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    given = decoded(entry["input"])
    monkeypatch.setattr(motion, "SIDE", given["side"])
    made = motion.shrunk_planes(given["planes"])
    np.testing.assert_allclose(made, decoded(entry["expected"])["planes"], atol=1e-6)


@pytest.mark.parametrize("entry", cases("grey"))
def test_greys(entry: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    monkeypatch.setattr(motion, "FLOW_SIDE", given["side"])
    off = motion.shrunk_grey(given["picture"]).astype(int) - wanted["grey"]
    assert np.abs(off).max() <= wanted["tolerance"]


@pytest.mark.parametrize("entry", cases("carry"))
def test_carried_masks(entry: dict) -> None:
    given = decoded(entry["input"])
    flow = np.zeros((FLOW_SIDE, FLOW_SIDE, 2), np.float32) if given["flow"] is None else given["flow"]
    mask = np.ascontiguousarray(given["mask"].transpose(1, 2, 0))
    made = motion.carry(mask, flow, np.array(given["region"]), given["met"]).transpose(2, 0, 1)
    np.testing.assert_allclose(made, decoded(entry["expected"])["mask"], atol=STEPS)


@pytest.mark.parametrize("entry", cases("met_again"))
def test_what_is_met_again(entry: dict, flows) -> None:
    given = decoded(entry["input"])
    before, now = given["before"], given["now"]
    flows(given["flow"], given["back"], before)
    there = motion.flow_between(before, now)
    motion.flow_between(before, now)
    made = motion.met_again(before, now, there)
    np.testing.assert_array_equal(made, decoded(entry["expected"])["met"])


@pytest.mark.parametrize("entry", cases("carried"))
def test_masks_of_the_next_crop(entry: dict, flows, monkeypatch: pytest.MonkeyPatch) -> None:
    given, wanted = decoded(entry["input"]), decoded(entry["expected"])
    monkeypatch.setattr(motion, "SIDE", SIDE)
    monkeypatch.setattr(motion, "FLOW_SIDE", FLOW_SIDE)
    size = given["size"]
    before, now = (_enlarged(given[key], size) for key in ("before_grey", "now_grey"))
    moving = motion.MovingMask()
    moving.put(before, np.array(given["before_matrix"]), given["mask"])
    flows(given["flow"], given["back"], given["before_grey"])
    motion.flow_between(before, now)
    made = moving.carried(now, np.array(given["now_matrix"]))
    if wanted["mask"] is None:
        assert made is None
        return
    assert made is not None
    np.testing.assert_allclose(made, wanted["mask"], atol=STEPS)


def _enlarged(grey: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8 that is `grey` again when it is shrunk."""
    large = cv2.resize(grey, (size, size), interpolation=cv2.INTER_NEAREST)
    return np.repeat(large[..., None], 3, axis=2)


def test_regions_that_do_not_meet_carry_nothing() -> None:
    apart = next(
        entry for entry in previous_mask_cases()
        if entry["name"] == "carried to a region that shows nothing of the one before"
    )  # fmt: skip
    assert not decoded(apart["expected"])["mask"].any()


def test_engine_sizes_carry_alike_without_a_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The formulas hold at the engine's own sizes as well, to what 1 / 32 pixel makes of a smooth mask."""
    monkeypatch.setattr(motion, "flow_between", lambda before, *_: np.zeros((*before.shape, 2), np.float32))
    size = 2 * motion.SIDE
    mask = (smooth_mask(3, motion.SIDE) / 256).astype(np.float32)
    matrices = [np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 4.0]]), np.array([[1.1, 0.0, 2.25], [0.0, 1.1, -3.5]])]
    cut = np.full((size, size, 3), 90, np.uint8)
    moving = motion.MovingMask()
    moving.put(cut, matrices[0], mask)
    made = moving.carried(cut, matrices[1])
    grey = motion.shrunk_grey(cut)
    wanted = carried(mask, grey, grey, matrices[0].tolist(), matrices[1].tolist(), size, None, None)["mask"]
    assert made is not None
    np.testing.assert_allclose(made, wanted, atol=2e-3)


@pytest.mark.parametrize(("name", "value"), [("ABSOLUTE", 0.3), ("RELATIVE", 0.001), ("LEAST_MET", 0.95)])
def test_another_rule_of_the_engine_makes_another_file(
    name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = text_of(previous_mask_cases())
    monkeypatch.setattr(motion, name, value)
    assert text_of(previous_mask_cases()) != before
