"""Starting from weights whose head is another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from toolchain.errors import UsageError
from toolchain.models.alexnet import AlexNet
from toolchain.models.lenet import LeNet
from toolchain.training.start import start_from


def test_alexnet_takes_the_convolutions_of_larger_pictures(tmp_path: Path) -> None:
    """ImageNet's size and classes, with few hidden units for speed."""
    torch.manual_seed(0)
    given = AlexNet(classes=1000, size=224, hidden=8).state_dict()
    torch.save(given, tmp_path / "imagenet.pth")
    network = AlexNet(hidden=8)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    started = start_from(network, tmp_path / "imagenet.pth")
    assert started.fresh == ("classifier.1.weight", "classifier.6.weight", "classifier.6.bias")
    assert started.unused == ()
    for name, tensor in network.state_dict().items():
        wanted = before[name] if name in started.fresh else given[name]
        assert torch.equal(tensor, wanted), name


def test_what_the_network_does_without_is_reported(tmp_path: Path) -> None:
    network = LeNet()
    save_file({**network.state_dict(), "aux.weight": torch.zeros(2)}, tmp_path / "a.safetensors")
    assert start_from(LeNet(), tmp_path / "a.safetensors").unused == ("aux.weight",)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    save_file(LeNet(channels=3, size=32).state_dict(), tmp_path / "a.safetensors")
    network = LeNet()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(UsageError, match=r"of another shape are features\.0\.weight"):
        start_from(network, tmp_path / "a.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
