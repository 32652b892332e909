"""AlexNet has torchvision's parameters, and computes from the published layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from toolchain.models.alexnet import AlexNet
from toolchain.models.weights_file import load_weights

# Of torchvision.models.alexnet.
SHAPES = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216),
    "classifier.4": (4096, 4096),
    "classifier.6": (1000, 4096),
}


def test_names_and_shapes_are_torchvisions() -> None:
    with torch.device("meta"):
        network = AlexNet(classes=1000, size=224)
    wanted = {f"{name}.weight": shape for name, shape in SHAPES.items()}
    wanted |= {f"{name}.bias": shape[:1] for name, shape in SHAPES.items()}
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == wanted
    assert sum(parameter.numel() for parameter in network.parameters()) == 61_100_840


@pytest.mark.parametrize("size", [63, 64, 128, 160, 224])
def test_any_size_from_63_pixels_on(size: int) -> None:
    network = AlexNet(classes=3, size=size, hidden=4)
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 3)


@torch.no_grad()
def test_it_computes_the_published_layers() -> None:
    torch.manual_seed(0)
    network = AlexNet(classes=5, hidden=16).eval()
    state = network.state_dict()
    x = image = torch.randn(1, 3, 128, 128)
    for index, stride, padding, pooled in ((0, 4, 2, True), (3, 1, 2, True), (6, 1, 1, False)):
        x = functional.conv2d(
            x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], stride, padding
        ).relu()
        x = functional.max_pool2d(x, 3, 2) if pooled else x
    for index in (8, 10):
        x = functional.conv2d(
            x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1
        ).relu()
    x = functional.max_pool2d(x, 3, 2).reshape(1, -1)
    for index in (1, 4, 6):
        x = functional.linear(x, state[f"classifier.{index}.weight"], state[f"classifier.{index}.bias"])
        x = x if index == 6 else x.relu()
    torch.testing.assert_close(network(image), x)


def test_torchvisions_file_loads(tmp_path: Path) -> None:
    """Every tensor of the file is one number of its own, which takes no room."""
    shapes = {f"{name}.weight": shape for name, shape in SHAPES.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in SHAPES.items()}
    state = {name: torch.tensor(float(index)).expand(shapes[name]) for index, name in enumerate(shapes)}
    torch.save(state, tmp_path / "alexnet-owt.pth")
    with torch.device("meta"):
        network = AlexNet(classes=1000, size=224)
    network = network.to_empty(device="cpu")
    load_weights(network, tmp_path / "alexnet-owt.pth")
    assert all(bool((tensor == state[name]).all()) for name, tensor in network.state_dict().items())
