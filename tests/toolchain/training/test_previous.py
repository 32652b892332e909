"""The faked previous mask is a mask that a network could have given."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from toolchain.errors import UsageError
from toolchain.training.previous import PreviousSettings, fake_previous

EXACT = PreviousSettings(
    empty=0, large=0, other=0, degrees=0, scale=0, shift=0, warp=0, drop=0, soft=0, growth=0
)  # fmt: skip


def faces(count: int, side: int = 48) -> Tensor:
    """A square of skin with parts in it on background; a different part row in every sample."""
    label = torch.zeros(count, side, side, dtype=torch.int64)
    label[:, 8:40, 8:40] = 1
    for sample in range(count):
        label[sample, 12:20, 12:36] = 2 + sample % 8
    return label


def test_shares_of_the_kinds() -> None:
    torch.manual_seed(0)
    label = torch.ones(1000, 8, 8, dtype=torch.int64)
    label[::2] = 2
    rates = replace(EXACT, empty=0.4, other=0.3)
    previous = fake_previous(label, 10, rates)
    empty = previous.flatten(1).sum(1) == 0
    wrong = ~empty & (previous.argmax(1) != label).flatten(1).all(1)
    assert empty.float().mean().item() == pytest.approx(0.4, abs=0.05)
    assert wrong.float().mean().item() == pytest.approx(0.3, abs=0.05)


def test_without_motion_it_is_the_truth_with_soft_edges() -> None:
    torch.manual_seed(1)
    label = faces(4)
    previous = fake_previous(label, 10, EXACT)
    # All but the corners of the squares.
    assert (previous.argmax(1) != label).flatten(1).sum(1).max() <= 8
    one_hot = torch.nn.functional.one_hot(label, 10).permute(0, 3, 1, 2).float()
    mean = torch.nn.functional.avg_pool2d(one_hot, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(previous, mean, atol=1e-6, rtol=0)
    wider = fake_previous(label, 10, replace(EXACT, soft=1.0))
    assert (wider.amax(1) < 0.999).float().mean() > 1.4 * (previous.amax(1) < 0.999).float().mean()


def test_large_motions_are_larger() -> None:
    torch.manual_seed(2)
    label = faces(64)
    moving = replace(PreviousSettings(), empty=0, other=0, drop=0, growth=0)
    small = fake_previous(label, 10, replace(moving, large=0)).argmax(1)
    large = fake_previous(label, 10, replace(moving, large=1)).argmax(1)
    agreement = [(mask == label).float().mean().item() for mask in (small, large)]
    assert 0.9 < agreement[0] < 0.99
    assert 0.6 < agreement[1] < agreement[0] - 0.05


def test_classes_grow_and_shrink() -> None:
    torch.manual_seed(3)
    label = faces(64)
    masks = fake_previous(label, 10, replace(EXACT, growth=3.0, soft=1.0)).argmax(1)
    area = (masks == 1).flatten(1).sum(1)
    truth = int((label[0] == 1).sum())
    assert area.min() < 0.95 * truth
    assert area.max() > 1.05 * truth
    # An edge moves by less than the blur is wide.
    assert masks[:, 24:36, 12:36].eq(1).all()


def test_a_missed_class_is_filled_from_its_surroundings() -> None:
    torch.manual_seed(4)
    label = faces(200)
    label[:] = label[:1]
    previous = fake_previous(label, 10, replace(EXACT, drop=1.0))
    missed = previous[:, 2].flatten(1).sum(1) == 0
    assert missed.float().mean().item() == pytest.approx(1 / 8, abs=0.07)
    inner = previous[missed][:, :, 14:18, 14:34]
    assert inner.argmax(1).eq(1).float().mean() > 0.7
    # Background and skin are never missed.
    assert previous[:, :2].flatten(2).sum(2).min() > 0


@settings(max_examples=20, deadline=None)
@given(
    classes=st.sets(st.sampled_from([*range(10), 255]), min_size=1),
    height=st.integers(3, 40),
    width=st.integers(3, 40),
    count=st.integers(1, 4),
    empty=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_mask_is_a_distribution_or_zero(
    classes: set[int], height: int, width: int, count: int, empty: float
) -> None:
    torch.manual_seed(height * width)
    values = torch.tensor(sorted(classes))
    label = values[torch.randint(len(values), (count, height, width))]
    # Unknown pixels often come as a whole region.
    label[:, : height // 2] = label[:, :1, :1]
    before = label.clone()
    previous = fake_previous(label, 10, PreviousSettings(empty=empty, large=0, other=0, drop=0.5))
    assert previous.shape == (count, 10, height, width)
    assert previous.dtype == torch.float32
    assert previous.is_contiguous(memory_format=torch.channels_last)
    assert previous.min() >= 0
    shown = previous.flatten(1).sum(1) > 0
    torch.testing.assert_close(previous[shown].sum(1), torch.ones(int(shown.sum()), height, width))
    assert empty in (0.0, 0.5) or not shown.any()
    assert empty in (1.0, 0.5) or shown.all()
    assert torch.equal(before, label)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_the_seed_decides_whatever_the_precision_of_the_step(precision: torch.dtype | None) -> None:
    label = faces(16)
    torch.manual_seed(5)
    first = fake_previous(label, 10)
    torch.manual_seed(5)
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        second = fake_previous(label, 10)
    assert torch.equal(first, second)
    assert not torch.equal(first, fake_previous(label, 10))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"empty": -0.1}, r"previous\.empty is"),
        ({"degrees": 90}, r"previous\.degrees is"),
        ({"factor": "4"}, r"previous\.factor is"),
        ({"empty": 0.7, "large": 0.2, "other": 0.2}, "add up to more than 1"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PreviousSettings(**values)
