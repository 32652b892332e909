"""Which zeroed filters can go, and what becomes of the constants that they gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from toolchain.compress.removal.constants import InputConstants
from toolchain.compress.removal.graph import IN, OUT, THROUGH, Slot, Unit


@dataclass(frozen=True)
class KeptFilter:
    """A zeroed filter that stays.

    Attributes:
        layer: name of its layer.
        index: which filter of it.
        reason: why, as the end of "it is kept: ...".
    """

    layer: str
    index: int
    reason: str


@dataclass(frozen=True)
class Carry:
    """In `layer`, column `source` times `factor` is added to column `target`."""

    layer: str
    source: int
    target: int
    factor: float


@dataclass
class Plan:
    """What is done to the weights: first the columns move, then the biases rise, then slots go.

    Attributes:
        carries: constants that move to another channel.
        folds: layer -> channel -> constant of it that goes into the layer's bias.
        removed: (layer, side) -> positions that go.
        kept: zeroed filters that stay.
    """

    carries: list[Carry] = field(default_factory=list)
    folds: dict[str, dict[int, float]] = field(default_factory=dict)
    removed: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    kept: list[KeptFilter] = field(default_factory=list)


def plan_removal(
    network: nn.Module,
    units: Sequence[Unit],
    constants: Mapping[str, InputConstants],
    zeroed: Mapping[str, Tensor],
) -> Plan:
    """Choose the units that go.

    A unit with a zeroed filter goes when every layer that reads it is fed nothing but a constant c there, for
    all inputs of the network. A linear layer, and a convolution without zero padding, takes c into its bias:
    b += c * (sum of the weights of that column). Zero padding makes the same sum differ at the borders; there
    one of the constant channels stays and carries the others, whose columns are added to its own times
    c / (its c). This is exact because both channels are constants.

    Args:
        network: its modules are looked at, not changed.
        units: of its channels.
        constants: what its layers are fed, by the name of their weight.
        zeroed: layer -> (filters,) bool.
    """
    planner = _Planner(network, constants)
    touched = [unit for unit in units if any(_is_zeroed(slot, zeroed) for slot in unit.slots)]
    reasons: dict[Unit, str] = {}
    for unit in touched:
        reason = planner.obstacle(unit)
        if reason:
            reasons[unit] = reason
    going = [unit for unit in touched if unit not in reasons]
    carriers = planner.carriers(going)
    reasons |= carriers
    going = _keep_one(network, [unit for unit in going if unit not in carriers], reasons)
    while unbalanced := planner.unbalanced(going):
        reasons |= unbalanced
        going = [unit for unit in going if unit not in unbalanced]
    plan = planner.plan(going, carriers)
    plan.kept = [
        KeptFilter(slot.module, slot.index, reasons[unit])
        for unit in reasons
        for slot in unit.slots
        if _is_zeroed(slot, zeroed)
    ]
    plan.kept.sort(key=lambda kept: (list(zeroed).index(kept.layer), kept.index))
    return plan


def obstacles(
    network: nn.Module, units: Iterable[Unit], constants: Mapping[str, InputConstants]
) -> dict[Unit, str]:
    """Why units cannot go, each looked at alone; those that can are not there.

    Args:
        network: as for `plan_removal`.
        units: with a zeroed filter each.
        constants: what the network's layers are fed.
    """
    planner = _Planner(network, constants)
    reasons = {unit: planner.obstacle(unit) for unit in units}
    return {unit: reason for unit, reason in reasons.items() if reason}


def _is_zeroed(slot: Slot, zeroed: Mapping[str, Tensor]) -> bool:
    return slot.side != IN and slot.module in zeroed and bool(zeroed[slot.module][slot.index])


def pads_with_zeros(layer: nn.Module) -> bool:
    """Whether a constant input gives an output that differs at the borders."""
    if isinstance(layer, _ConvTransposeNd):
        return True
    if not isinstance(layer, _ConvNd) or layer.padding_mode != "zeros":
        return False
    if isinstance(layer.padding, str):
        return layer.padding == "same" and max(layer.kernel_size) > 1
    return any(layer.padding)


class _Planner:
    """What is known about the modules of a network.

    Args:
        network: the network.
        constants: as for `plan_removal`.
    """

    def __init__(self, network: nn.Module, constants: Mapping[str, InputConstants]) -> None:
        self._modules = dict(network.named_modules())
        self._own = dict(network.named_parameters())
        uses = Counter(
            id(parameter)
            for module in self._modules.values()
            for parameter in module.parameters(recurse=False)
        )
        self._shared = {key for key, count in uses.items() if count > 1}
        self._constants = constants

    def obstacle(self, unit: Unit) -> str:
        """Why a unit cannot go; "" when it can."""
        if unit.blocked:
            return unit.blocked
        for slot in unit.slots:
            if reason := self._wrong_weights(slot.module):
                return reason
        for slot in _readers(unit):
            found = self._constants.get(f"{slot.module}.weight")
            if found is None:
                return f"it is not seen what '{slot.module}' is fed"
            if not found.known[slot.index]:
                return f"'{slot.module}' is fed something else in the same channel"
            if not found.uniform[slot.index]:
                return f"the constant that '{slot.module}' is fed differs from place to place"
            if found.value[slot.index] != 0 and self._grouped(slot) and self._pads(slot):
                return f"'{slot.module}' is a grouped convolution with zero padding"
        return ""

    def _wrong_weights(self, name: str) -> str:
        weight = self._own.get(f"{name}.weight")
        if weight is None:
            if isinstance(self._modules[name], nn.modules.batchnorm._BatchNorm):
                return ""
            return f"the weights of '{name}' are computed from others"
        return f"'{name}' shares its weights with another layer" if id(weight) in self._shared else ""

    def _grouped(self, slot: Slot) -> bool:
        return getattr(self._modules[slot.module], "groups", 1) > 1

    def _pads(self, slot: Slot) -> bool:
        return pads_with_zeros(self._modules[slot.module])

    def _value(self, slot: Slot) -> float:
        return float(self._constants[f"{slot.module}.weight"].value[slot.index])

    def _borders(self, unit: Unit) -> list[Slot]:
        """Readers at which the unit's constant differs at the borders."""
        return [slot for slot in _readers(unit) if self._pads(slot) and self._value(slot) != 0]

    def carriers(self, units: Sequence[Unit]) -> dict[Unit, str]:
        """Units that stay to carry the constants of others, with the reason.

        Every zero-padded layer that is fed such a constant gets one; those first that serve most layers, and
        the largest constant among them.
        """
        served = {
            unit: {slot.module: abs(self._value(slot)) for slot in self._borders(unit)} for unit in units
        }
        waiting = {layer for layers in served.values() for layer in layers}
        counts = Counter(layer for layers in served.values() for layer in layers)
        chosen: dict[Unit, str] = {}
        while waiting:
            best = max(
                (unit for unit in units if waiting & set(served[unit])),
                key=lambda unit: (
                    len(waiting & set(served[unit])),
                    sum(served[unit][layer] for layer in waiting & set(served[unit])),
                ),
            )
            layers = sorted(waiting & set(served[best]))
            others = max(counts[layer] for layer in layers) - 1
            more = f" and those of {others} more" if others else ""
            chosen[best] = f"it carries its constant{more} to '{layers[0]}', which pads with zeros"
            waiting -= set(layers)
        return chosen

    def unbalanced(self, units: Iterable[Unit]) -> dict[Unit, str]:
        """Units that must stay so that every group of a grouped convolution loses equally many channels."""
        found: dict[Unit, str] = {}
        for (name, side), members in _by_side(units).items():
            layer = self._modules[name]
            groups = getattr(layer, "groups", 1)
            if side == THROUGH or groups == 1:
                continue
            assert isinstance(layer, _ConvNd)
            size = (layer.in_channels if side == IN else layer.out_channels) // groups
            parts: list[list[Unit]] = [[] for _ in range(groups)]
            for index, unit in sorted(members.items()):
                parts[index // size].append(unit)
            least = min(len(part) for part in parts)
            reason = f"the groups of '{name}' must keep equally many channels"
            found |= {unit: reason for part in parts for unit in part[least:]}
        return found

    def plan(self, units: Sequence[Unit], carriers: Iterable[Unit]) -> Plan:
        """The plan that takes `units` out."""
        plan = Plan()
        carrying = {(slot.module): slot for unit in carriers for slot in self._borders(unit)}
        for unit in units:
            for slot in unit.slots:
                plan.removed.setdefault((slot.module, slot.side), set()).add(slot.index)
            for slot in _readers(unit):
                value = self._value(slot)
                if value == 0:
                    continue
                if self._pads(slot):
                    carrier = carrying[slot.module]
                    factor = value / self._value(carrier)
                    plan.carries.append(Carry(slot.module, slot.index, carrier.index, factor))
                else:
                    plan.folds.setdefault(slot.module, {})[slot.index] = value
        return plan


def _readers(unit: Unit) -> list[Slot]:
    return [slot for slot in unit.slots if slot.side == IN]


def _by_side(units: Iterable[Unit]) -> dict[tuple[str, str], dict[int, Unit]]:
    found: dict[tuple[str, str], dict[int, Unit]] = {}
    for unit in units:
        for slot in unit.slots:
            found.setdefault((slot.module, slot.side), {})[slot.index] = unit
    return found


def _keep_one(network: nn.Module, units: Sequence[Unit], reasons: dict[Unit, str]) -> list[Unit]:
    """Leave one filter to layers that would lose all; its unit gets a reason."""
    going = list(units)
    modules = dict(network.named_modules())
    for (name, side), members in _by_side(units).items():
        staying = set(members.values()) - set(reasons)
        if side == OUT and len(staying) == len(members) == _filters(modules[name]):
            spared = members[min(members)]
            reasons[spared] = f"'{name}' would have no filter left"
            going.remove(spared)
    return going


def _filters(layer: nn.Module) -> int:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    assert isinstance(layer, _ConvNd)
    return layer.out_channels


def column_sums(layer: nn.Module, constants: Mapping[int, float]) -> Tensor:
    """What constants at some channels of a layer without zero padding add to each output, (outputs,)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    weight = weight.detach()
    sums = weight.flatten(2).sum(2) if weight.dim() > 2 else weight
    groups = getattr(layer, "groups", 1)
    width, rows = sums.shape[1], sums.shape[0] // groups
    total = torch.zeros(sums.shape[0], dtype=sums.dtype)
    for index, value in constants.items():
        group = index // width
        part = slice(group * rows, (group + 1) * rows)
        total[part] += value * sums[part, index % width]
    return total
