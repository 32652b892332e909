import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from toolchain.compress.distill.losses import FeatureTap, pairwise_loss, pixel_loss, soft_label_loss
from toolchain.compress.distill.teacher import Teacher, check_teacher
from toolchain.errors import UsageError
from toolchain.models.faces import face_spec
from toolchain.models.zoo import zoo


def test_soft_labels_by_hand():
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(3.0), 0.0]])
    # At temperature 2 the teacher says 3/4 and 1/4, the student 1/2 and 1/2.
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert float(soft_label_loss(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-6)


def test_soft_labels_keep_the_size_of_the_gradient_when_the_temperature_grows():
    def gradient(temperature):
        student = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
        teacher = torch.tensor([[0.3, -0.1, 0.2, -0.4]], dtype=torch.float64)
        soft_label_loss(student, teacher, temperature).backward()
        return student.grad

    # The limit of a high temperature, Hinton et al., section 2.1: (z - v) / N for logits of mean 0.
    torch.testing.assert_close(
        gradient(1000.0),
        -torch.tensor([[0.3, -0.1, 0.2, -0.4]], dtype=torch.float64) / 4,
        rtol=1e-2,
        atol=1e-3,
    )


@given(st.integers(0, 2**16), st.floats(0.5, 8))
@settings(deadline=None, max_examples=25)
def test_pixels_are_samples_and_unknown_ones_do_not_count(seed, temperature):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    known = torch.rand(2, 4, 5, generator=generator) < 0.6
    known[0, 0, 0] = True
    rows = [values.permute(0, 2, 3, 1)[known] for values in (student, teacher)]
    torch.testing.assert_close(
        pixel_loss(student, teacher, temperature, known), soft_label_loss(*rows, temperature)
    )
    assert float(pixel_loss(student, student, temperature)) == pytest.approx(0, abs=1e-6)
    assert float(pixel_loss(student, teacher, temperature, known & False)) == 0


def test_pairwise_compares_how_places_relate_whatever_width_and_scale():
    features = torch.randn(2, 6, 8, 8)
    turned = functional.conv2d(features, torch.linalg.qr(torch.randn(6, 6))[0][..., None, None])
    assert float(pairwise_loss(3 * features, turned, 4)) == pytest.approx(0, abs=1e-9)
    wide = torch.cat([features, features, torch.zeros_like(features)], 1)
    assert float(pairwise_loss(features, wide, 4)) == pytest.approx(0, abs=1e-9)
    flat = torch.ones(2, 3, 8, 8)
    found = pairwise_loss(features, flat, 2)
    pooled = functional.normalize(functional.adaptive_avg_pool2d(features, 2).flatten(2), dim=1)
    assert float(found) == pytest.approx(
        float((pooled.transpose(1, 2) @ pooled - 1).square().mean()), rel=1e-5
    )


def test_the_gradient_goes_to_the_student_alone():
    student, teacher = (torch.randn(1, 4, 8, 8, requires_grad=True) for _ in range(2))
    (pairwise_loss(student, teacher, 4) + pixel_loss(student, teacher, 2.0)).backward()
    assert teacher.grad is None
    assert float(student.grad.abs().sum()) > 0


def test_a_tap_gives_what_went_into_a_layer():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    tap, image = FeatureTap(network, "2"), torch.rand(1, 3, 4, 4)
    network(image)
    torch.testing.assert_close(tap.take(), network[1](network[0](image)))


FACE = face_spec("parser", "", "", previous=True)


@pytest.mark.parametrize(
    ("teacher", "student", "said"),
    [
        (zoo().get("lenet").spec, FACE, "classification"),
        (zoo().get("vgg11").spec, zoo().get("lenet").spec, "does not know the class"),
        (face_spec("small", "", "", True, 64), FACE, "other sizes"),
    ],
)
def test_an_unfit_teacher_is_refused(teacher, student, said):
    with pytest.raises(UsageError, match=said):
        check_teacher(Teacher(nn.Identity(), teacher, "t"), student)


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"temperature": 0.0}, {"pairwise": -1.0}])
def test_unfit_settings_are_refused(wrong):
    with pytest.raises(UsageError):
        Teacher(nn.Identity(), FACE, "t", **wrong)
