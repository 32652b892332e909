"""FCN-ResNet50 has torchvision's parameters and strides."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toolchain.models.fcn_resnet import LABELS, FCNResNet50, voc_palette

BLOCKS = {1: 3, 2: 4, 3: 6, 4: 3}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return FCNResNet50().eval()


def test_names_are_torchvisions(network: nn.Module) -> None:
    wanted = {"backbone.conv1", "backbone.bn1", "classifier.0", "classifier.1", "classifier.4"}
    for stage, blocks in BLOCKS.items():
        for block in range(blocks):
            place = f"backbone.layer{stage}.{block}"
            wanted |= {f"{place}.{kind}{number}" for kind in ("conv", "bn") for number in (1, 2, 3)}
        wanted |= {f"backbone.layer{stage}.0.downsample.{number}" for number in (0, 1)}
    assert {name.rpartition(".")[0] for name in network.state_dict()} == wanted
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes["backbone.layer4.2.conv3.weight"] == (2048, 512, 1, 1)
    assert shapes["backbone.layer2.0.downsample.0.weight"] == (512, 256, 1, 1)
    assert shapes["classifier.0.weight"] == (512, 2048, 3, 3)
    assert shapes["classifier.4.bias"] == (21,)
    # torchvision states 35,322,218 with the auxiliary head, which has these.
    auxiliary = 1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21
    assert sum(p.numel() for p in network.parameters()) == 35_322_218 - auxiliary


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (72, 40)])
def test_the_backbone_ends_at_an_eighth(network: nn.Module, size: tuple[int, int]) -> None:
    image = torch.randn(1, 3, *size)
    assert network.backbone(image).shape == (1, 2048, size[0] // 8, size[1] // 8)
    assert network(image).shape == (1, 21, *size)


def test_dilation_takes_the_place_of_stride(network: nn.Module) -> None:
    dilations = {
        stage: [block.conv2.dilation[0] for block in network.backbone.get_submodule(f"layer{stage}")]
        for stage in BLOCKS
    }
    assert dilations == {1: [1] * 3, 2: [1] * 4, 3: [1] + [2] * 5, 4: [2, 4, 4]}
    strides = [
        convolution.stride[0]
        for convolution in network.backbone.modules()
        if isinstance(convolution, nn.Conv2d)
    ]
    # The stem, and 3x3 convolution and shortcut where the second stage begins.
    assert strides.count(2) == 3


def test_colours_are_those_of_pascal_voc() -> None:
    palette = dict(zip(LABELS, voc_palette(len(LABELS)), strict=True))
    assert palette["background"] == (0, 0, 0)
    assert palette["cat"] == (64, 0, 0)
    assert palette["person"] == (192, 128, 128)
    assert palette["tvmonitor"] == (0, 64, 128)
