"""Losses against their formulas in float64, gradients against autograd's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UsageError
from toolchain.training.losses import FaceParsingLoss, LossSettings, near_edge

CLASSES = 10


def plain_edges(label: Tensor, radius: int) -> Tensor:
    """Pixels whose square holds two neighbouring pixels of different known classes, one by one."""
    result = torch.zeros(label.shape, dtype=torch.bool)
    count, height, width = label.shape
    for n in range(count):
        for y in range(height):
            for x in range(width):
                top, left = max(0, y - radius), max(0, x - radius)
                square = label[n, top : y + radius + 1, left : x + radius + 1]
                for first, second in ((square[1:], square[:-1]), (square[:, 1:], square[:, :-1])):
                    result[n, y, x] |= ((first != second) & (first != 255) & (second != 255)).any()
    return result


def plain_loss(
    logits: Tensor, label: Tensor, teacher: Tensor | None, chosen: LossSettings
) -> dict[str, Tensor]:
    """The documented formulas, written for reading."""
    known = label != 255
    weight = known.double()
    if chosen.class_weights:
        weight = weight * torch.tensor(chosen.class_weights).double()[torch.where(known, label, 0)]
    weight = weight * (1 + chosen.boundary * plain_edges(label, chosen.boundary_radius))
    surprise = functional.cross_entropy(logits, label, ignore_index=255, reduction="none")
    entropy = (weight * surprise).sum() / weight.sum()
    probability = logits.softmax(1).movedim(1, -1)[known]
    truth = functional.one_hot(label[known], CLASSES).double()
    score = (2 * (probability * truth).sum(0) + 1) / (probability.sum(0) + truth.sum(0) + 1)
    dice = 1 - score[truth.sum(0) > 0].mean()
    hard = chosen.cross_entropy * entropy + chosen.dice * dice
    if teacher is None:
        return {"loss": hard, "cross_entropy": entropy, "dice": dice}
    target = (teacher / chosen.temperature).softmax(1).movedim(1, -1)[known]
    student = (logits / chosen.temperature).log_softmax(1).movedim(1, -1)[known]
    distillation = chosen.temperature**2 * functional.kl_div(student, target, reduction="batchmean")
    loss = (1 - chosen.distillation) * hard + chosen.distillation * distillation
    return {"loss": loss, "cross_entropy": entropy, "dice": dice, "distillation": distillation}


def batch(seed: int, classes: tuple[int, ...] = (0, 1, 4, 5, 255)) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, label in patches, teacher's logits."""
    torch.manual_seed(seed)
    coarse = torch.tensor(classes)[torch.randint(len(classes), (3, 3, 3))]
    label = coarse.repeat_interleave(4, 1).repeat_interleave(3, 2)
    label[0, 0, 0] = 1
    logits = 3 * torch.randn(3, CLASSES, 12, 9, dtype=torch.float64)
    return logits.requires_grad_(), label, 3 * torch.randn_like(logits)


ROWS: list[dict[str, Any]] = [
    {},
    {"boundary": 3.0, "boundary_radius": 1},
    {"class_weights": tuple(range(1, CLASSES + 1)), "boundary": 1.0, "boundary_radius": 3},
    {"cross_entropy": 0.3, "dice": 2.5, "distillation": 0.8, "temperature": 4.0},
    {"distillation": 1.0, "temperature": 1.0},
]


@pytest.mark.parametrize("values", ROWS)
@pytest.mark.parametrize("taught", [False, True])
def test_terms_and_gradient_are_those_of_the_formulas(values: dict[str, Any], taught: bool) -> None:
    chosen = LossSettings(**values)
    logits, label, teacher = batch(len(values))
    given_teacher = teacher if taught else None
    expected = plain_loss(logits, label, given_teacher, chosen)
    (gradient,) = torch.autograd.grad(2 * expected["loss"], logits)
    terms = FaceParsingLoss(chosen)(logits, label, given_teacher)
    shown = {
        name for name in expected if chosen.distillation < 1 or not taught or name in ("loss", "distillation")
    }
    assert set(terms) == shown
    for name, value in terms.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-7)
    (fused,) = torch.autograd.grad(2 * terms["loss"], logits)
    torch.testing.assert_close(fused, gradient, rtol=1e-5, atol=1e-8)
    assert fused.movedim(1, -1)[label == 255].abs().max() == 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_any_precision_and_layout_under_autocast(layout: torch.memory_format, precision: torch.dtype) -> None:
    exact, label, teacher = batch(3)
    rounded = exact.detach().to(precision).contiguous(memory_format=layout).requires_grad_()
    chosen = LossSettings(boundary=2.0)
    wide = rounded.detach().double().requires_grad_()
    expected = plain_loss(wide, label, teacher, chosen)
    kept = rounded.detach().clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = FaceParsingLoss(chosen)(rounded, label, teacher)
    for name, value in terms.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    terms["loss"].backward()
    expected["loss"].backward()
    assert rounded.grad is not None
    assert wide.grad is not None
    assert rounded.grad.dtype == precision
    limit = 4e-3 if precision == torch.bfloat16 else 1e-5
    torch.testing.assert_close(rounded.grad.double(), wide.grad, rtol=limit, atol=1e-7)
    assert torch.equal(rounded, kept)


@settings(max_examples=25, deadline=None)
@given(classes=st.sets(st.sampled_from([*range(CLASSES), 255]), min_size=1), seed=st.integers(0, 100))
def test_any_set_of_labels(classes: set[int], seed: int) -> None:
    logits, label, teacher = batch(seed, tuple(sorted(classes)))
    chosen = LossSettings(boundary=1.0)
    terms = FaceParsingLoss(chosen)(logits, label, teacher)
    expected = plain_loss(logits, label, teacher, chosen)
    for name, value in terms.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-7)


def test_without_a_known_pixel_nothing_is_learnt() -> None:
    logits, label, teacher = batch(0)
    terms = FaceParsingLoss(LossSettings(boundary=1.0))(logits, torch.full_like(label, 255), teacher)
    assert [value.item() for value in terms.values()] == [0, 0, 0, 0]
    (gradient,) = torch.autograd.grad(terms["loss"], logits)
    assert gradient.abs().max() == 0


def test_a_perfect_answer_costs_nothing_and_confident_errors_stay_finite() -> None:
    _, label, _ = batch(1)
    right = 200 * functional.one_hot(torch.where(label == 255, 0, label), CLASSES).movedim(-1, 1).float()
    loss = FaceParsingLoss(LossSettings(boundary=1.0))
    assert loss(right, label, right)["loss"].item() == pytest.approx(0, abs=1e-6)
    wrong = (-right).requires_grad_()
    terms = loss(wrong, label)
    assert terms["cross_entropy"].item() == pytest.approx(200 + torch.log(torch.tensor(9.0)).item(), rel=1e-5)
    terms["loss"].backward()
    assert wrong.grad is not None
    assert wrong.grad.isfinite().all()


def test_without_gradient_the_values_are_the_same() -> None:
    logits, label, teacher = batch(2)
    loss = FaceParsingLoss()
    with torch.no_grad():
        silent = loss(logits, label, teacher)
    for name, value in loss(logits, label, teacher).items():
        assert torch.equal(silent[name], value.detach())


@settings(max_examples=25, deadline=None)
@given(
    classes=st.sets(st.sampled_from([0, 1, 6, 255]), min_size=1),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    radius=st.integers(1, 4),
)
def test_edges_against_the_definition(classes: set[int], height: int, width: int, radius: int) -> None:
    torch.manual_seed(10 * height + width)
    values = torch.tensor(sorted(classes))
    label = values[(torch.rand(2, height, width) ** 4 * len(values)).long()]
    assert torch.equal(near_edge(label, radius), plain_edges(label, radius))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dice": -1}, r"loss\.dice is"),
        ({"distillation": 1.1}, r"loss\.distillation is"),
        ({"temperature": 0}, r"loss\.temperature is"),
        ({"boundary_radius": 1.5}, r"loss\.boundary_radius is"),
        ({"boundary_radius": 0}, r"loss\.boundary_radius is"),
        ({"class_weights": [0, 0]}, r"loss\.class_weights are all 0"),
        ({"class_weights": 2}, r"loss\.class_weights is"),
        ({"cross_entropy": 0, "dice": 0, "distillation": 0}, "nothing is learnt"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LossSettings(**values)


def test_weights_must_fit_the_network_and_there_must_be_something_to_learn() -> None:
    logits, label, _ = batch(0)
    with pytest.raises(UsageError, match="has 2 numbers, the network 10 classes"):
        FaceParsingLoss(LossSettings(class_weights=(1, 2)))(logits, label)
    with pytest.raises(UsageError, match="there is no teacher"):
        FaceParsingLoss(LossSettings(cross_entropy=0, dice=0))(logits, label)
