"""FCN-ResNet50 has torchvision's parameters and strides, and takes its file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toolchain.errors import UsageError
from toolchain.models.fcn_resnet import LABELS, FCNResNet50, voc_palette
from toolchain.models.weights_file import load_weights

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


def norm_shapes(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for key in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{key}", (width,)
    yield f"{name}.num_batches_tracked", ()


def torchvision_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Keys and shapes of torchvision's fcn_resnet50, auxiliary head included."""
    yield "backbone.conv1.weight", (64, 3, 7, 7)
    yield from norm_shapes("backbone.bn1", 64)
    below = 64
    for stage, blocks in BLOCKS.items():
        width = 32 * 2**stage
        for block in range(blocks):
            place = f"backbone.layer{stage}.{block}"
            shapes = ((width, below, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1))
            for number, shape in enumerate(shapes, 1):
                yield f"{place}.conv{number}.weight", shape
                yield from norm_shapes(f"{place}.bn{number}", shape[0])
            if block == 0:
                yield f"{place}.downsample.0.weight", (4 * width, below, 1, 1)
                yield from norm_shapes(f"{place}.downsample.1", 4 * width)
            below = 4 * width
    for head, inputs in (("classifier", 2048), ("aux_classifier", 1024)):
        yield f"{head}.0.weight", (inputs // 4, inputs, 3, 3)
        yield from norm_shapes(f"{head}.1", inputs // 4)
        yield f"{head}.4.weight", (21, inputs // 4, 1, 1)
        yield f"{head}.4.bias", (21,)


def torchvision_state() -> dict[str, Tensor]:
    """Each tensor is one number of its own, which takes no room in a file."""
    return {
        name: torch.tensor(index).expand(()) if not shape else torch.tensor(float(index)).expand(shape)
        for index, (name, shape) in enumerate(torchvision_shapes())
    }


def test_torchvisions_file_loads_without_its_auxiliary_head(
    network: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = torchvision_state()
    torch.save(state, tmp_path / "fcn_resnet50_coco.pth")
    with caplog.at_level(logging.WARNING):
        load_weights(network, tmp_path / "fcn_resnet50_coco.pth")
    found = network.state_dict()
    assert all(bool((tensor == state[name]).all()) for name, tensor in found.items())
    left = [name for name in state if name not in found]
    assert len(left) == 8
    assert all(name.startswith("aux_classifier.") for name in left)
    (record,) = caplog.records
    assert "left out 8 tensors of" in record.getMessage()
    assert "aux_classifier.0.weight" in record.getMessage()


@pytest.mark.parametrize(
    ("name", "shape"), [("aux_classifier_2.weight", (1,)), ("backbone.layer5.0.conv1.weight", (2, 2, 1, 1))]
)
def test_other_keys_are_still_refused(
    network: nn.Module, tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    torch.save({**torchvision_state(), name: torch.zeros(shape)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=f"unexpected: {name}$"):
        load_weights(network, tmp_path / "other.pth")
