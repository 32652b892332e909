"""MobileNetV2's multipliers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from toolchain.models.mobilenetv2 import MobileNetV2, scaled_width


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (32, 1.0, 32),
        (32, 0.35, 16),
        (16, 0.35, 8),
        (24, 0.5, 16),
        (24, 0.75, 24),
        (96, 1.4, 136),
        (1280, 1.4, 1792),
    ],
)
def test_scaled_width(channels, width, expected):
    assert scaled_width(channels, width) == expected


@settings(deadline=None)
@given(channels=st.integers(1, 2048), width=st.floats(0.1, 2.0))
def test_scaled_width_is_a_multiple_of_8_and_at_most_a_tenth_narrower(channels, width):
    result = scaled_width(channels, width)
    assert result % 8 == 0
    assert 0.9 * channels * width <= result < max(channels * width + 8 + 1e-9, 9)


@pytest.mark.parametrize(("width", "last"), [(0.35, 1280), (1.0, 1280), (1.4, 1792)])
def test_last_convolution_is_never_narrower_than_1280(width, last):
    with torch.device("meta"):
        assert MobileNetV2(width).classifier[-1].in_features == last


@pytest.mark.parametrize("size", [96, 160, 224])
def test_features_are_a_32nd_of_the_input(size):
    with torch.device("meta"):
        features = MobileNetV2(0.35).eval().features(torch.empty(1, 3, size, size))
    assert tuple(features.shape) == (1, 1280, size // 32, size // 32)


def test_blocks_add_their_input_where_the_paper_says_so():
    with torch.device("meta"):
        blocks = [block for block in MobileNetV2().features if hasattr(block, "residual")]
    assert [block.residual for block in blocks] == [
        index in {2, 4, 5, 7, 8, 9, 11, 12, 14, 15} for index in range(17)
    ]


def test_no_convolution_before_a_batch_normalization_has_a_bias():
    with torch.device("meta"):
        network = MobileNetV2(classes=7)
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d))
    assert network.classifier[-1].out_features == 7
