"""Take zeroed filters out of a network, with everything that depends on them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from toolchain.compress.removal.constants import input_constants, random_inputs
from toolchain.compress.removal.figures import NetworkSize, network_size
from toolchain.compress.removal.graph import IN, OUT, channel_units
from toolchain.compress.removal.module_place import ModulePlace
from toolchain.compress.removal.plan import KeptFilter, Plan, column_sums, plan_removal
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.models.reshape import fit_to_state

# Largest difference between the two networks, of their largest output (at least of 1).
TOLERANCE = 1e-5
CHECKS = 3


@dataclass(frozen=True)
class Removal:
    """A network without its zeroed filters.

    Attributes:
        network: the smaller network, in evaluation mode.
        kept: layer -> filters of the original that are left, for every convolution and linear layer.
        zeroed: how many zeroed filters there were.
        left: zeroed filters that could not go, with the reason.
        before: size of the original.
        after: size of the smaller network.
        difference: largest difference of the outputs on random inputs in float64, of the largest output.
    """

    network: nn.Module
    kept: dict[str, list[int]]
    zeroed: int
    left: tuple[KeptFilter, ...]
    before: NetworkSize
    after: NetworkSize
    difference: float


def zero_filters(network: nn.Module) -> dict[str, Tensor]:
    """For every convolution, transposed ones included, which filters have only exact zeros as weights.

    Returns:
        Name -> (filters,) bool.
    """
    found = {}
    for name, layer in network.named_modules():
        if not isinstance(layer, _ConvNd):
            continue
        zero = layer.weight.detach() == 0
        if isinstance(layer, _ConvTransposeNd):
            zero = zero.unflatten(0, (layer.groups, -1)).flatten(3).all(3).all(1).flatten()
        else:
            zero = zero.flatten(1).all(1)
        found[name] = zero.cpu()
    return found


def remove_filters(
    network: nn.Module, example: Sequence[Tensor], zeroed: Mapping[str, Tensor] | None = None
) -> Removal:
    """A smaller network that computes the same function.

    Filters that cannot go exactly stay, and are listed with the reason. The result was run beside the
    original on random inputs in float64.

    Args:
        network: left as it is; floating-point weights, on the CPU.
        example: its inputs; shapes count, and stay possible for the smaller network.
        zeroed: layer -> (filters,) bool: filters to take out, whose weights are all zero; default: all that
            are.

    Raises:
        UsageError: `zeroed` names another layer, or a filter with weights that are not zero.
        UnsupportedError: the network cannot be traced, or does not run with fewer channels; the message names
            the module.
        ToolchainError: the smaller network computes something else.
    """
    zeroed = _checked(zero_filters(network), zeroed)
    exact = copy.deepcopy(network).double().eval()
    inputs = random_inputs(example)
    with ModulePlace(exact) as place:
        try:
            before = network_size(exact, inputs)
        except Exception as error:
            raise place.refusal(error) from error
    plan = Plan()
    if any(bool(mask.any()) for mask in zeroed.values()):
        plan = plan_removal(exact, channel_units(exact, inputs), input_constants(exact, inputs), zeroed)
    state = _smaller_state(exact, plan)
    smaller = copy.deepcopy(exact)
    fit_to_state(smaller, state)
    smaller.load_state_dict(state)
    difference = _difference(exact, smaller, example)
    made = copy.deepcopy(network).eval()
    fit_to_state(made, state)
    made.load_state_dict(state)
    return Removal(
        made,
        _kept(before, plan),
        sum(int(mask.sum()) for mask in zeroed.values()),
        tuple(plan.kept),
        before,
        network_size(smaller, inputs),
        difference,
    )


def _checked(zero: dict[str, Tensor], wanted: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    if wanted is None:
        return zero
    for name, mask in wanted.items():
        if name not in zero or mask.shape != zero[name].shape:
            raise UsageError(f"the network has no convolution '{name}' with {len(mask)} filters")
        wrong = (mask.cpu() & ~zero[name]).nonzero().flatten().tolist()
        if wrong:
            raise UsageError(
                f"filter {wrong[0]} of '{name}' is not zero: without it the network would be another",
                "set its weights to zero first, or train with `toolchain compress train`",
            )
    return {name: wanted[name].cpu() for name in zero if name in wanted}


def _smaller_state(network: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """The state dict of the smaller network: columns moved, biases raised, positions taken out."""
    state = {key: value.clone() for key, value in network.state_dict().items()}
    modules = dict(network.named_modules())
    for name, constants in plan.folds.items():
        added = column_sums(modules[name], constants)
        if bool(added.any()):
            own = state.get(f"{name}.bias")
            state[f"{name}.bias"] = added if own is None else own + added
    for carry in plan.carries:
        weight = state[f"{carry.layer}.weight"]
        # Padded layers that are carried to are not grouped: a column is one position of one axis.
        axis = 0 if isinstance(modules[carry.layer], _ConvTransposeNd) else 1
        weight.select(axis, carry.target).add_(carry.factor * weight.select(axis, carry.source))
    for (name, side), positions in plan.removed.items():
        _take_out(state, name, modules[name], side, positions)
    return state


def _take_out(state: dict[str, Tensor], name: str, module: nn.Module, side: str, positions: set[int]) -> None:
    """Remove positions from one side of a module's tensors."""
    if isinstance(module, _ConvNd | nn.Linear) and side in (IN, OUT):
        weight = state[f"{name}.weight"]
        axis = int((side == IN) != isinstance(module, _ConvTransposeNd))
        state[f"{name}.weight"] = _without(weight, axis, positions, getattr(module, "groups", 1))
        keys = ["bias"] if side == OUT else []
    else:
        keys = ["weight", "bias", "running_mean", "running_var"]
    for key in (f"{name}.{key}" for key in keys):
        if key in state:
            state[key] = _without(state[key], 0, positions, 1)


def _without(tensor: Tensor, axis: int, positions: set[int], groups: int) -> Tensor:
    """`tensor` without positions of an axis; axis 1 counts through all groups, which lie along axis 0."""
    if axis == 0 or groups == 1:
        keep = [index for index in range(tensor.shape[axis]) if index not in positions]
        return tensor.index_select(axis, torch.tensor(keep)).contiguous()
    width = tensor.shape[1]
    parts = [
        _without(part, 1, {index - group * width for index in positions}, 1)
        for group, part in enumerate(tensor.chunk(groups))
    ]
    return torch.cat(parts)


def _kept(before: NetworkSize, plan: Plan) -> dict[str, list[int]]:
    found = {}
    for name, layer in before.layers.items():
        gone = plan.removed.get((name, OUT)) or plan.removed.get((name, "through")) or set()
        found[name] = [index for index in range(layer.filters) if index not in gone]
    return found


@torch.no_grad()
def _difference(network: nn.Module, smaller: nn.Module, example: Sequence[Tensor]) -> float:
    """Largest difference on random inputs, of the largest output.

    Raises:
        UnsupportedError: the smaller network does not run.
        ToolchainError: it computes something else.
    """
    worst = 0.0
    for seed in range(1, CHECKS + 1):
        inputs = random_inputs(example, seed)
        expected = _outputs(network(*inputs))
        with ModulePlace(smaller) as place:
            try:
                found = _outputs(smaller(*inputs))
            except Exception as error:
                raise _depends_on_width(place, error) from error
        for one, other in zip(expected, found, strict=True):
            if one.shape != other.shape:
                raise ToolchainError(
                    f"without the zeroed filters an output has the shape {tuple(other.shape)} instead of"
                    f" {tuple(one.shape)}",
                    "please report this network",
                )
            scale = one.abs().max().clamp(min=1)
            worst = max(worst, float(((one - other).abs().max() / scale).nan_to_num(torch.inf)))
    if worst > TOLERANCE:
        raise ToolchainError(
            f"without the zeroed filters the outputs differ by {worst:.1e}, more than {TOLERANCE:g}: nothing"
            " was removed",
            "please report this network",
        )
    return worst


def _depends_on_width(place: ModulePlace, error: Exception) -> UnsupportedError:
    refused = place.refusal(error)
    return UnsupportedError(
        f"{refused.message} (with fewer channels)", "a size written as a number in forward must be computed"
    )


def _outputs(result: Any) -> list[Tensor]:
    values = [result] if isinstance(result, Tensor) else list(result)
    return [value.double() for value in values]
