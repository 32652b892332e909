"""Give the layers of a network the widths that a state dict has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def fit_to_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Resize convolutions, linear layers and normalizations to the shapes in `state`, in place.

    The number of axes and the kernel sizes stay. A depthwise convolution stays depthwise, a grouped one keeps
    the number of its groups. A layer whose state has a bias that it lacks gets one: constants of removed
    filters lie there. New tensors hold nothing; load the state afterwards, which also tells what did not fit.

    Args:
        network: freshly built.
        state: of a network of the same structure with other widths.
    """
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        own = {key: state[prefix + key] for key in _NAMES if prefix + key in state}
        if isinstance(module, _ConvNd):
            _fit_convolution(module, own)
        elif isinstance(module, nn.Linear):
            _fit_linear(module, own)
        elif isinstance(module, _NormBase):
            _fit_norm(module, own)
        elif isinstance(module, nn.PReLU) and _fits(module.weight, own.get("weight")):
            module.num_parameters = len(own["weight"])
            _resize(module, "weight", own["weight"])


def is_reshaped(network: nn.Module, original: nn.Module) -> bool:
    """Whether the state of `network` has other shapes or other keys than that of `original`."""
    ours, theirs = network.state_dict(), original.state_dict()
    return {key: value.shape for key, value in ours.items()} != {
        key: value.shape for key, value in theirs.items()
    }


_NAMES = ("weight", "bias", "running_mean", "running_var")


def _fits(own: Tensor | None, given: Tensor | None) -> bool:
    """Whether `given` is the same kind of weight: as many axes, and the same kernel."""
    return (
        own is not None
        and given is not None
        and own.dim() == given.dim()
        and own.shape[2:] == given.shape[2:]
        and 0 not in given.shape
    )


def _resize(module: nn.Module, name: str, given: Tensor | None) -> None:
    """Let a parameter or buffer have the shape of `given`; a parameter that was None is made."""
    if given is None:
        return
    own = getattr(module, name)
    like = own if isinstance(own, Tensor) else module.weight
    assert isinstance(like, Tensor)
    if isinstance(own, Tensor) and own.shape == given.shape:
        return
    made = torch.empty(given.shape, dtype=like.dtype, device=like.device)
    if name in module._buffers:
        module._buffers[name] = made
    else:
        setattr(module, name, nn.Parameter(made, requires_grad=like.requires_grad))


def _fit_convolution(layer: _ConvNd, state: Mapping[str, Tensor]) -> None:
    weight = state.get("weight")
    if weight is None or not _fits(layer.weight, weight):
        return
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels
    if depthwise and weight.shape[1] == 1:
        layer.groups = layer.in_channels = layer.out_channels = weight.shape[0]
    else:
        rows, columns = weight.shape[:2]
        if rows % layer.groups:
            return
        if isinstance(layer, _ConvTransposeNd):
            layer.in_channels, layer.out_channels = rows, columns * layer.groups
        else:
            layer.out_channels, layer.in_channels = rows, columns * layer.groups
    _resize(layer, "weight", weight)
    _resize(layer, "bias", state.get("bias"))


def _fit_linear(layer: nn.Linear, state: Mapping[str, Tensor]) -> None:
    weight = state.get("weight")
    if weight is None or not _fits(layer.weight, weight):
        return
    layer.out_features, layer.in_features = weight.shape
    _resize(layer, "weight", weight)
    _resize(layer, "bias", state.get("bias"))


def _fit_norm(layer: _NormBase, state: Mapping[str, Tensor]) -> None:
    width = next((len(value) for value in state.values() if value.dim() == 1), 0)
    if not width:
        return
    layer.num_features = width
    for name in _NAMES:
        if getattr(layer, name) is not None:
            _resize(layer, name, state.get(name))
