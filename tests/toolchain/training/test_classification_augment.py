"""Augmentation of batches: pixels go where they should, with their label maps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.training.classification_augment import augmented, moved, recoloured
from toolchain.training.classification_settings import PictureAugmentation

ALL = PictureAugmentation(flip=0.5, shift=0.2, zoom=(0.8, 1.3), colour=0.3)


def pictures(count: int = 6, side: int = 10) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(1)).byte()


def test_nothing_asked_for_changes_nothing() -> None:
    images = pictures()
    assert augmented(images, PictureAugmentation()) is images


def test_flip_of_all() -> None:
    images = pictures()
    assert torch.equal(augmented(images, PictureAugmentation(flip=1.0)), images.flip(-1))


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.05, 0.5), seed=st.integers(0, 1000))
def test_shift_moves_whole_pixels_and_repeats_the_border(share: float, seed: int) -> None:
    torch.manual_seed(seed)
    side = 10
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    images = torch.stack([rows, columns, rows + columns]).byte().expand(5, 3, side, side)
    numbers = (rows * side + columns).expand(5, side, side)
    shifted, maps = moved(images, numbers, PictureAugmentation(shift=share))
    assert maps is not None
    assert shifted.dtype == torch.uint8
    most = round(share * side)
    for image, label in zip(shifted.long(), maps, strict=True):
        assert torch.equal(label, image[0] * side + image[1])
        assert torch.equal(image[2], image[0] + image[1])
        # One shift for all rows: where each row comes from, clamped into the picture.
        down = [d for d in range(-most, most + 1) if torch.equal(image[0], (rows + d).clamp(0, side - 1))]
        right = [d for d in range(-most, most + 1) if torch.equal(image[1], (columns + d).clamp(0, side - 1))]
        assert down
        assert right


def test_zoom_moves_pictures_and_maps_alike() -> None:
    torch.manual_seed(3)
    side = 32
    step = (torch.arange(side) >= side // 2).long() * 200
    images = step.expand(8, 3, side, side).byte()
    zoomed, maps = moved(images, step.expand(8, side, side), PictureAugmentation(zoom=(0.5, 2.0), shift=0.2))
    assert maps is not None
    assert set(maps.flatten().tolist()) <= {0, 200}
    # Away from the edge, which interpolation softens, both say the same.
    sharp = (zoomed[:, 0] < 1) | (zoomed[:, 0] > 199)
    assert sharp.float().mean() > 0.8
    assert ((zoomed[:, 0] > 100) == (maps > 100))[sharp].all()
    edges = (maps[:, 0] > 100).sum(1)
    assert len(set(edges.tolist())) > 3


def test_zoom_without_any_is_the_picture_itself() -> None:
    images = pictures()
    same, _ = moved(images, None, PictureAugmentation(zoom=(0.999999, 1.0)))
    torch.testing.assert_close(same, images.float(), atol=0.01, rtol=0)


def test_colour_keeps_the_range() -> None:
    torch.manual_seed(0)
    images = pictures()
    changed = recoloured(images, 0.5)
    assert 0 <= changed.min() <= changed.max() <= 255
    factors = changed.mean((1, 2, 3)) / images.float().mean((1, 2, 3))
    assert factors.std() > 0.05


def test_the_same_generator_gives_the_same_batch() -> None:
    images, found = pictures(), []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(augmented(images, ALL))
    assert torch.equal(*found)
    assert not torch.equal(found[0], augmented(images, ALL))


@pytest.mark.parametrize("settings_", [PictureAugmentation(shift=0.1), ALL])
def test_shape_stays(settings_: PictureAugmentation) -> None:
    assert augmented(pictures(), settings_).shape == pictures().shape
