"""Layers take the widths of a state dict."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from toolchain.errors import UnsupportedError, UsageError
from toolchain.models import zoo
from toolchain.models.reshape import fit_to_state, is_reshaped
from toolchain.models.weights_file import are_reshaped, load_weights


def network(width: int, out: int = 4, groups: int = 2) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.PReLU(width),
        nn.Conv2d(width, width, 3, groups=width),
        nn.ConvTranspose2d(width, 2 * width, 2, stride=2, groups=groups),
        nn.InstanceNorm2d(2 * width, affine=True),
        nn.Conv2d(2 * width, out, 1, groups=groups),
        nn.Flatten(),
        nn.Linear(out * 144, 5),
    )


def test_all_kinds_of_layers_are_resized_and_compute() -> None:
    narrow, wide = network(4).eval(), network(6).eval()
    fit_to_state(wide, narrow.state_dict())
    wide.load_state_dict(narrow.state_dict())
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(wide(x), narrow(x))
    assert (wide[3].groups, wide[3].in_channels, wide[4].groups, wide[6].in_channels) == (4, 4, 2, 8)
    assert str(wide) == str(narrow)
    assert all(parameter.requires_grad for parameter in wide.parameters())


def test_a_bias_of_the_state_is_taken_over() -> None:
    given, own = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1, bias=False)
    fit_to_state(own, given.state_dict())
    own.load_state_dict(given.state_dict())
    assert torch.equal(own.bias, given.bias)


def test_the_layers_of_the_same_widths_are_left_alone() -> None:
    own = network(4)
    before = dict(own.named_parameters())
    fit_to_state(own, copy.deepcopy(own).state_dict())
    assert all(before[name] is parameter for name, parameter in own.named_parameters())


def test_whether_a_network_is_reshaped() -> None:
    assert is_reshaped(network(4), network(6))
    assert not is_reshaped(network(4), network(4))
    assert is_reshaped(nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1, bias=False))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.zeros(2, 3, 5, 5), "of another shape"),
        (torch.zeros(2, 3), "of another shape"),
        (torch.zeros(0, 3, 3, 3), "of another shape"),
    ],
)
def test_other_kernels_are_still_refused(weight: torch.Tensor, message: str, tmp_path: Path) -> None:
    own = nn.Conv2d(3, 4, 3)
    state = {"weight": weight, "bias": torch.zeros(len(weight))}
    save_file(state, tmp_path / "w.safetensors", metadata={"reshaped": "true"})
    with pytest.raises(UsageError, match=message):
        load_weights(own, tmp_path / "w.safetensors")


@pytest.mark.parametrize("metadata", [None, {"reshaped": "false"}, {"terms": "free"}])
def test_narrow_weights_need_to_say_so(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    save_file(nn.Conv2d(3, 2, 3).state_dict(), tmp_path / "w.safetensors", metadata=metadata)
    assert not are_reshaped(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"weight \(2, 3, 3, 3\) instead of \(4, 3, 3, 3\)"):
        load_weights(nn.Conv2d(3, 4, 3), tmp_path / "w.safetensors")


def test_reshaped_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = zoo().get("vgg11").build().state_dict()
    save_file(state, tmp_path / "w.safetensors", metadata={"reshaped": "true"})
    with pytest.raises(UsageError, match=r"do not fit the network: missing: features\.0\.weight"):
        load_weights(zoo().get("lenet").build(), tmp_path / "w.safetensors")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(UnsupportedError, match=r"w\.safetensors' is damaged"):
        load_weights(nn.Conv2d(3, 4, 3), tmp_path / "w.safetensors")
