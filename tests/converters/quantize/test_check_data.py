"""Unfit calibration data is told apart from pictures, with figures."""

from __future__ import annotations

import re

import numpy as np
import pytest

from toolchain.converters.quantize.check_data import InputCheck, check_sample, few_samples, unsettled
from toolchain.converters.quantize.observe import Extremes
from toolchain.converters.quantize.scheme import Range
from toolchain.errors import UsageError

RNG = np.random.default_rng(0)
EXPECTED = Range(-1.0, 1.0)


def picture(seed=0, size=32):
    """Colours that change slowly over the picture, in -1 to 1, channel-first."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] / size
    channels = [
        np.sin(6 * (a * rows + b * columns) + c) * 0.3 + level
        for (a, b, c), level in zip(generator.random((3, 3)), (0.65, 0.0, -0.65), strict=True)
    ]
    return np.stack(channels)[None].astype(np.float32)


PICTURES = [picture(seed) for seed in range(8)]


def warnings(arrays, expected=EXPECTED):
    check = InputCheck("image", expected)
    for array in arrays:
        check.add(np.asarray(array, np.float32))
    return check.warnings()


def test_pictures_are_fine():
    assert warnings(PICTURES) == []


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            [127.5 * p + 127.5 for p in PICTURES],
            r"goes from \d+.* to 2\d\d.*, the contract expects -1 to 1.*norm",
        ),
        ([p / 2 + 0.5 for p in PICTURES], r"from 0\.\d+ to 0\.9\d+, the contract expects -1 to 1.*mean"),
        ([p / 127.5 for p in PICTURES], "normalized twice"),
        ([1.2 * p for p in PICTURES], "the contract expects -1 to 1$"),
        ([np.full((1, 3, 32, 32), 0.5)] * 4, "is 0.5 everywhere in all 4 samples"),
        ([np.full((1, 3, 32, 32), v) for v in (-1, 0, 1)], "one value only in 3 of 3 samples"),
        ([RNG.uniform(-1, 1, (1, 3, 32, 32)) for _ in range(4)], r"random noise.* -?0\.0\d down"),
        (
            [p.transpose(0, 2, 3, 1).reshape(p.shape) for p in PICTURES],
            r"channel-last.* by -?0\.\d+, every n-th",
        ),
    ],
    ids=["0-255", "0-1", "normalized twice", "beyond", "constant", "flat pictures", "noise", "channel-last"],
)
def test_unfit_data(arrays, words):
    found = warnings(arrays)
    assert len(found) == 1
    assert re.search(words, found[0])
    assert "'image'" in found[0]


@pytest.mark.parametrize("shape", [(1, 10), (1, 3, 4, 4), (5,), (1, 0)])
def test_what_is_no_picture_is_not_judged_as_one(shape):
    arrays = [RNG.uniform(-1, 1, shape) for _ in range(8)]
    assert warnings(arrays, None) == []


def test_channels_that_are_no_colours_may_repeat():
    arrays = [RNG.uniform(-1, 1, (1, 8, 32, 32)).cumsum(axis=2).cumsum(axis=3) for _ in range(3)]
    assert warnings(arrays, None) == []


SHAPES = {"image": (1, 3, 4, 5)}
TYPES = {"image": np.dtype(np.float32)}
GOOD = np.zeros((1, 3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("sample", "words", "hint"),
    [
        ({}, "holds nothing; the network's inputs are 'image'", "each input"),
        ({"picture": GOOD}, "holds 'picture'", "each input"),
        ({"image": GOOD.transpose(0, 2, 3, 1)}, "1x4x5x3, the network takes 1x3x4x5", "transpose"),
        ({"image": GOOD[0]}, "'image' is 3x4x5", "batch axis"),
        ({"image": GOOD[:, :2]}, "1x2x4x5", "layout"),
        ({"image": GOOD.astype(np.uint8)}, "uint8, the network takes float32", "astype"),
        ({"image": GOOD + np.nan}, "60 NaN or infinite", "remove"),
    ],
)
def test_samples_that_do_not_fit(sample, words, hint):
    with pytest.raises(UsageError, match=words) as caught:
        check_sample(7, sample, SHAPES, TYPES)
    assert "sample 7" in caught.value.message
    assert hint in caught.value.hint


def test_few_samples():
    assert few_samples(32) == []
    assert few_samples(5)[0].startswith("5 calibration samples are few")


def test_ranges_that_still_grow_are_named():
    extremes = Extremes(["a", "b"])
    for number in range(1, 65):
        extremes.add(np.zeros(2), np.array([number, 1.0]))
    (found,) = unsettled(extremes)
    assert "1 of 2 tensors" in found
    assert "after 32 of 64 samples" in found
    assert "'a' by 100 %" in found


def test_ranges_that_have_settled():
    extremes = Extremes(["a"])
    for number in range(64):
        extremes.add(np.zeros(1), np.array([1 + 0.001 * number]))
    assert unsettled(extremes) == []
