"""Augmentation moves picture and labels together, and each change does what its setting says."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import cv2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from toolchain.errors import UsageError
from toolchain.training.augment import FLIPPED_CLASS, AugmentSettings, FaceAugmentation, compress_jpeg
from toolchain.training.warp import POINTS, sampling_grid

STILL = AugmentSettings(
    flip=0, affine=0, warp=0, occlusion=0, colour=0, gamma=0, blur=0, noise=0, jpeg=0
)  # fmt: skip


def augmentation(**changes: Any) -> FaceAugmentation:
    """Nothing but what is asked for."""
    return FaceAugmentation(replace(STILL, **changes))


def smooth(count: int, side: int) -> Tensor:
    """Pictures without detail, in 0.2-0.8."""
    coarse = torch.rand(count, 3, 5, 5)
    return 0.2 + 0.6 * functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=True)


def ramps(count: int, side: int) -> Tensor:
    """The first channel is 0.25 to 0.75 from left to right, the second from top to bottom."""
    ramp = 0.25 + 0.5 * (torch.arange(side) + 0.5) / side
    x, y = ramp.expand(side, side), ramp[:, None].expand(side, side)
    return torch.stack([x, y, torch.ones_like(x)]).expand(count, -1, -1, -1).contiguous()


def test_without_any_change_the_batch_stays() -> None:
    torch.manual_seed(0)
    image, label = torch.rand(4, 3, 32, 32), torch.randint(0, 10, (4, 32, 32))
    moved_image, moved_label = augmentation()(image, label)
    torch.testing.assert_close(moved_image, image, atol=1e-5, rtol=0)
    assert torch.equal(moved_label, label)


@settings(max_examples=20, deadline=None)
@given(classes=st.sets(st.sampled_from([*range(10), 255]), min_size=1), side=st.integers(2, 33))
def test_flip_mirrors_and_swaps_left_and_right_exactly(classes: set[int], side: int) -> None:
    torch.manual_seed(side)
    values = torch.tensor(sorted(classes))
    label = values[torch.randint(len(values), (3, side, side))]
    image = torch.rand(3, 3, side, side)
    moved_image, moved_label = augmentation(flip=1)(image, label)
    torch.testing.assert_close(moved_image, image.flip(-1), atol=1e-5, rtol=0)
    swapped = label.flip(-1).clone()
    for old, new in enumerate(FLIPPED_CLASS):
        swapped[label.flip(-1) == old] = new
    assert torch.equal(moved_label, swapped)


@pytest.mark.parametrize(
    "changes",
    [
        {"flip": 0.5},
        {"affine": 1.0},
        {"warp": 1.0, "warp_shift": 0.08},
        {"flip": 0.5, "affine": 1.0, "warp": 1.0, "padding": "border"},
    ],
)
def test_picture_and_labels_move_together(changes: dict[str, Any]) -> None:
    """The labels are the picture's own coordinates in eight steps, so each says what the other must be."""
    torch.manual_seed(1)
    side = 64
    image = ramps(16, side)
    # Classes 6 to 9 do not change sides in a flip.
    label = 6 + ((image[:, 1] - 0.25) / 0.5 * 4).floor().long()
    moved_image, moved_label = augmentation(**changes)(image, label)
    inside = (moved_image[:, 2] > 0.999) & (moved_label > 0)
    assert inside.float().mean() > 0.5
    expected = 6 + (moved_image[:, 1] - 0.25) / 0.5 * 4
    # Nearest is off by at most half a pixel along each axis.
    low, high = moved_label - 4 * 0.75 / side, moved_label + 1 + 4 * 0.75 / side
    assert ((expected >= low) & (expected <= high))[inside].all()
    assert not torch.equal(moved_label, label) or set(changes) == {"flip"}


def test_affine_map_is_a_turn_a_zoom_and_a_shift_within_their_limits() -> None:
    torch.manual_seed(2)
    side = 64
    limits = replace(STILL, affine=1, degrees=30, scale=(0.9, 1.25), shift=0.1, padding="border")
    image, _ = FaceAugmentation(limits)(ramps(200, side), torch.zeros(200, side, side, dtype=torch.int64))
    # From the middle of the picture: how the original coordinates grow to the right and downwards.
    position = (image[:, :2] - 0.25) / 0.5 * side
    middle = position[:, :, 28:36, 28:36]
    right = middle[..., 0, 7].sub(middle[..., 0, 0]) / 7
    down = middle[..., 7, 0].sub(middle[..., 0, 0]) / 7
    zoom = 1 / right.norm(dim=1)
    torch.testing.assert_close(right.norm(dim=1), down.norm(dim=1), atol=1e-3, rtol=0)
    torch.testing.assert_close((right * down).sum(1), torch.zeros(200), atol=1e-3, rtol=0)
    angle = torch.rad2deg(torch.atan2(right[:, 1], right[:, 0]))
    shift = (middle.mean((2, 3)) - side / 2) / side
    for values, low, high in ((zoom, 0.9, 1.25), (angle, -30, 30), (shift, -0.1, 0.1)):
        spare = 0.03 * (high - low)
        assert low - 1e-3 * abs(low) <= values.min() <= low + spare
        assert high - spare <= values.max() <= high + 1e-3 * abs(high)


def test_what_comes_in_from_outside_is_background() -> None:
    torch.manual_seed(3)
    image, label = torch.full((8, 3, 32, 32), 0.5), torch.full((8, 32, 32), 255)
    changes = {"affine": 1, "degrees": 0, "scale": (0.5, 0.5), "shift": 0}
    black, moved = augmentation(**changes)(image, label)
    border, same = augmentation(**changes, padding="border")(image, label)
    assert torch.equal(moved, same)
    assert torch.equal(moved[:, 8:24, 8:24], label[:, 8:24, 8:24])
    assert moved.eq(0).sum() == moved.numel() * 3 // 4
    assert black[:, :, :7].max() == 0
    torch.testing.assert_close(border, image)


def test_a_thin_plate_spline_passes_through_its_control_points() -> None:
    torch.manual_seed(4)
    # The inner control points at +-1/3 lie between the pixels 31 and 32, and 63 and 64.
    side = 96
    identity = torch.eye(2, 3)[None]
    displacement = torch.zeros(1, POINTS**2, 2)
    still = sampling_grid(identity, displacement, side, side)
    displacement[0, POINTS + 1] = torch.tensor([0.1, -0.05])
    moved = (sampling_grid(identity, displacement, side, side) - still)[0]
    torch.testing.assert_close(
        moved[31:33, 31:33].mean((0, 1)), torch.tensor([0.1, -0.05]), atol=5e-4, rtol=0
    )
    for rows, columns in ((slice(31, 33), slice(63, 65)), (slice(63, 65), slice(63, 65))):
        torch.testing.assert_close(moved[rows, columns].mean((0, 1)), torch.zeros(2), atol=5e-4, rtol=0)
    # A displacement that is itself affine is reproduced everywhere.
    steps = torch.linspace(-1, 1, POINTS)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    displacement = torch.stack([0.1 * x + 0.02 * y, 0.05 - 0.1 * x], dim=-1).view(1, -1, 2)
    moved = (sampling_grid(identity, displacement, side, side) - still)[0]
    px, py = still[0, ..., 0], still[0, ..., 1]
    torch.testing.assert_close(moved, torch.stack([0.1 * px + 0.02 * py, 0.05 - 0.1 * px], dim=-1))


def test_an_occluder_changes_picture_and_label_in_the_same_places() -> None:
    torch.manual_seed(5)
    image = torch.full((60, 3, 64, 64), 0.5)
    label = torch.full((60, 64, 64), 6)
    label[:, :, 32:] = 255
    changed, moved = augmentation(occlusion=1)(image, label)
    hidden = moved == 0
    difference = (changed - image).abs().amax(1)
    assert set(moved.unique().tolist()) == {0, 6, 255}
    # Far from its edge nothing shows through, and nothing changes outside of it.
    deep = functional.max_pool2d((~hidden).float(), 5, 1, 2) == 0
    far = functional.max_pool2d(hidden.float(), 5, 1, 2) == 0
    assert difference[far].max() < 1e-5
    assert (difference[deep] > 0.01).float().mean() > 0.95
    area = hidden.flatten(1).float().mean(1)
    assert area.max() < 0.4
    assert area.median() > 0.01


def test_colours_are_those_of_brightness_saturation_hue_and_contrast() -> None:
    torch.manual_seed(6)
    label = torch.zeros(32, 16, 16, dtype=torch.int64)
    image = smooth(32, 16)
    luma = torch.tensor([0.299, 0.587, 0.114])
    # (channel sums) each change alone: a common factor, distances from grey, distances from the mean.
    brightness = {"colour": 1, "brightness": 0.2, "contrast": 0, "saturation": 0, "hue": 0}
    changed, _ = augmentation(**brightness)(image, label)
    factor = changed.flatten(1).sum(1) / image.flatten(1).sum(1)
    torch.testing.assert_close(changed, image * factor[:, None, None, None], atol=1e-4, rtol=0)
    assert 0.8 <= factor.min() < 0.85 < 1.15 < factor.max() <= 1.2
    changed, _ = augmentation(**{**brightness, "brightness": 0, "saturation": 0.2, "hue": 0.05})(image, label)
    grey, before = (torch.einsum("nchw,c->nhw", picture, luma) for picture in (changed, image))
    torch.testing.assert_close(grey, before, atol=1e-3, rtol=0)
    assert (changed - image).abs().amax((1, 2, 3)).min() > 1e-3
    changed, _ = augmentation(**{**brightness, "brightness": 0, "contrast": 0.2})(image, label)
    mean = torch.einsum("nchw,c->n", image, luma)[:, None, None, None] / 256
    ratio = (changed - mean).flatten(1).norm(dim=1) / (image - mean).flatten(1).norm(dim=1)
    expected = mean + ratio[:, None, None, None] * (image - mean)
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=0)


def test_gamma_blur_and_noise_by_their_formulas() -> None:
    torch.manual_seed(7)
    label = torch.zeros(8, 48, 48, dtype=torch.int64)
    image = 0.1 + 0.8 * torch.rand(8, 3, 48, 48)
    changed, _ = augmentation(gamma=1, gamma_exponent=(1.7, 1.7))(image, label)
    torch.testing.assert_close(changed, image**1.7, atol=1e-4, rtol=0)
    changed, _ = augmentation(blur=1, blur_sigma=(1.2, 1.2))(image, label)
    reference = cv2.GaussianBlur(
        image[3].permute(1, 2, 0).numpy(), (9, 9), 1.2, borderType=cv2.BORDER_REFLECT_101
    )
    torch.testing.assert_close(changed[3], torch.from_numpy(reference).permute(2, 0, 1), atol=2e-4, rtol=0)
    grey = torch.full_like(image, 0.5)
    changed, _ = augmentation(noise=1, noise_sigma=(0.04, 0.04))(grey, label)
    assert (changed - grey).std().item() == pytest.approx(0.04, rel=0.03)
    assert (changed - grey).mean().item() == pytest.approx(0, abs=1e-3)


def test_jpeg_keeps_colours_and_loses_more_at_lower_quality() -> None:
    torch.manual_seed(8)
    image = smooth(1, 64)[0]
    image[0] *= 0.3
    assert (compress_jpeg(image, 100) - image).abs().max() < 0.06
    noisy = (image + 0.1 * torch.randn(3, 64, 64)).clamp(0, 1)
    errors = [(compress_jpeg(noisy, quality) - noisy).square().mean() for quality in (95, 60, 20)]
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_the_seed_decides_whatever_the_precision_of_the_step(precision: torch.dtype | None) -> None:
    image, label = smooth(16, 48), torch.randint(0, 10, (16, 48, 48))
    before = image.clone(), label.clone()
    torch.manual_seed(9)
    first = FaceAugmentation()(image, label)
    torch.manual_seed(9)
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        second = FaceAugmentation()(image, label)
    third = FaceAugmentation()(image, label)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[1], third[1])
    assert torch.equal(before[0], image)
    assert torch.equal(before[1], label)


@settings(max_examples=15, deadline=None)
@given(classes=st.sets(st.sampled_from([*range(10), 255]), min_size=1), seed=st.integers(0, 1000))
def test_labels_stay_labels_and_pictures_stay_in_range(classes: set[int], seed: int) -> None:
    torch.manual_seed(seed)
    values = torch.tensor(sorted(classes))
    label = values[torch.randint(len(values), (4, 24, 24))]
    image, moved = FaceAugmentation()(torch.rand(4, 3, 24, 24), label)
    assert moved.dtype == torch.int64
    assert image.dtype == torch.float32
    assert set(moved.unique().tolist()) <= {0} | classes | {FLIPPED_CLASS[c] for c in classes if c < 10}
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flip", 1.5),
        ("degrees", float("nan")),
        ("shift", "far"),
        ("warp", True),
        ("scale", [1.2, 0.8]),
        ("scale", [1.0]),
        ("blur_sigma", 1.0),
        ("jpeg_quality", [0, 90]),
        ("padding", "reflection"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"augment\.{key} is") as caught:
        AugmentSettings(**{key: value})  # type: ignore[arg-type]
    assert caught.value.hint


def test_settings_can_be_written_as_toml_and_read_again() -> None:
    written = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(AugmentSettings()).items()
    }
    assert AugmentSettings(**written) == AugmentSettings()
