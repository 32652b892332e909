"""Which channels of a network belong together: what must go when one of them goes.

The dependency graph is torch-pruning's (DepGraph, arXiv:2301.12900). It follows gradients, so the network is
traced once with stand-ins for what has none (comparisons, selections, unpooling indices), and every input
enters through a 1x1 convolution of its own, so that concatenations with an input keep their offsets and the
channels of inputs can be told from others.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from toolchain.compress.removal.module_place import ModulePlace
from toolchain.errors import MissingDependencyError

# Sides of a module: rows of the weight, columns of the weight, or one index for both.
OUT, IN, THROUGH = "out", "in", "through"
INPUT = "an input of the network"
OUTPUT = "an output of the network"


@dataclass(frozen=True)
class Slot:
    """One channel at one side of a module.

    Attributes:
        module: name within the network.
        side: OUT for a filter, IN for a column of the weights, THROUGH where in and out are one (batch
            normalization, depthwise convolution, PReLU).
        index: position along that side.
    """

    module: str
    side: str
    index: int


@dataclass(frozen=True)
class Unit:
    """Channels that can only be removed together.

    Attributes:
        slots: all of them.
        blocked: why they cannot be removed whatever their values are, "" when nothing forbids it.
    """

    slots: tuple[Slot, ...]
    blocked: str = ""


def channel_units(network: nn.Module, example: Sequence[Tensor]) -> list[Unit]:
    """All units of a network in evaluation mode.

    Args:
        network: left as it is.
        example: its inputs.

    Raises:
        UnsupportedError: the network cannot be traced; the message names the module.
    """
    graph, names = _dependencies(network, example)
    sets = _Sets()
    seen: set[Slot] = set()
    for module, node in list(graph.module2node.items()):
        name = names.get(module)
        if name is None or not _is_root(module, node):
            continue
        count = graph.get_out_channels(node)
        own = [Slot(name, OUT, index) for index in range(count)]
        if all(slot in seen for slot in own):
            continue
        prune = graph.get_pruner_of_module(module).prune_out_channels
        for item in graph.get_pruning_group(module, prune, list(range(count))):
            side, place, reason = _place(graph, item, names)
            if not side and not reason:
                continue
            for index, root in zip(item.idxs, item.root_idxs, strict=True):
                if reason:
                    sets.block(own[root], reason)
                if side:
                    slot = Slot(place, side, index)
                    sets.join(own[root], slot)
                    seen.add(slot)
        seen.update(own)
    return sets.units()


def _is_root(module: Any, node: Any) -> bool:
    """Whether the module makes channels: a convolution that is not depthwise, or a linear layer."""
    from torch_pruning import ops

    return node.type in (ops.OPTYPE.CONV, ops.OPTYPE.LINEAR)


def _place(graph: Any, item: Any, names: dict[Any, str]) -> tuple[str, str, str]:
    """Side, module and reason not to touch it, for one entry of a pruning group."""
    from torch_pruning import ops

    node = item.dep.target
    module, kind = node.module, node.type
    if kind == ops.OPTYPE.OUTPUT:
        return "", "", OUTPUT
    if kind == ops.OPTYPE.PARAMETER:
        return "", "", "a parameter outside the layers"
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) and module not in names:
        return "", "", INPUT
    if kind in (ops.OPTYPE.CONV, ops.OPTYPE.LINEAR):
        return (OUT if graph.is_out_channel_pruning_fn(item.dep.handler) else IN), names[module], ""
    if kind == ops.OPTYPE.DEPTHWISE_CONV:
        uneven = module.in_channels != module.out_channels
        return THROUGH, names[module], f"uneven groups of '{names[module]}'" if uneven else ""
    if kind == ops.OPTYPE.BN:
        return THROUGH, names[module], ""
    if kind == ops.OPTYPE.PRELU:
        return (THROUGH if module.num_parameters > 1 else ""), names[module], ""
    if isinstance(module, nn.Module) and module in names:
        return "", "", f"{type(module).__name__} '{names[module]}', which mixes channels"
    return "", "", ""


class _Sets:
    """Disjoint sets of slots, some of them blocked."""

    def __init__(self) -> None:
        self._parent: dict[Slot, Slot] = {}
        self._reasons: dict[Slot, str] = {}

    def _root(self, slot: Slot) -> Slot:
        parent = self._parent.setdefault(slot, slot)
        while parent != slot:
            self._parent[slot] = self._parent[parent]
            slot, parent = parent, self._parent[parent]
        return slot

    def join(self, one: Slot, other: Slot) -> None:
        self._parent[self._root(other)] = self._root(one)

    def block(self, slot: Slot, reason: str) -> None:
        self._root(slot)
        self._reasons.setdefault(slot, reason)

    def units(self) -> list[Unit]:
        members: dict[Slot, list[Slot]] = {}
        for slot in self._parent:
            members.setdefault(self._root(slot), []).append(slot)
        reasons = {self._root(slot): reason for slot, reason in self._reasons.items()}
        return [Unit(tuple(slots), reasons.get(root, "")) for root, slots in members.items()]


def _gate(value: Tensor) -> nn.Module:
    """A 1x1 convolution through which an input enters the traced network; indices enter as they are."""
    kinds: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
    if not value.is_floating_point() or value.dim() < 2:
        return nn.Identity()
    channels = value.shape[1]
    if value.dim() == 2:
        return nn.Linear(channels, channels, dtype=value.dtype)
    return kinds[value.dim()](channels, channels, 1, dtype=value.dtype)


class _Gated(nn.Module):
    """The network behind its gates, with something behind each output that marks it as one."""

    def __init__(self, network: nn.Module, example: Sequence[Tensor]) -> None:
        super().__init__()
        self.network = network
        self.gates = nn.ModuleList(_gate(value) for value in example)

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        """The network's outputs, each through an operation that torch-pruning takes for an output."""
        entered = [gate(value) for gate, value in zip(self.gates, inputs, strict=True)]
        with _StandIns():
            result = self.network(*entered)
        outputs = [result] if isinstance(result, Tensor) else list(result)
        return [output + 0.0 for output in outputs if output.requires_grad]


def _dependencies(network: nn.Module, example: Sequence[Tensor]) -> tuple[Any, dict[Any, str]]:
    try:
        import torch_pruning
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"removal needs the package '{error.name}'", 'pip install "mobile-toolchain[compress]"'
        ) from error
    traced = copy.deepcopy(network).eval().requires_grad_(True)
    names = {module: name for name, module in traced.named_modules()}
    gated = _Gated(traced, example)
    with ModulePlace(traced) as place:
        try:
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = torch_pruning.DependencyGraph().build_dependency(
                    gated, tuple(value.detach() for value in example), verbose=False
                )
        except Exception as error:
            raise place.refusal(error) from error
    return graph, names


_COMPARISONS = ("eq", "ne", "gt", "lt", "ge", "le", "logical_and", "logical_or", "logical_xor")
_DUNDERS = ("__eq__", "__ne__", "__gt__", "__lt__", "__ge__", "__le__", "__and__", "__or__", "__xor__")


def _sum(*values: Any, **_: Any) -> Tensor:
    """What stands for a comparison or a selection: a tensor that follows all of its arguments."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    floats = [
        value if value.is_floating_point() else value.to(torch.get_default_dtype()) for value in tensors
    ]
    return sum(floats[1:], floats[0])


def _same(value: Tensor, *_: Any, **__: Any) -> Tensor:
    return value


def _pool_with_indices(value: Tensor, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
    pooled = functional.max_pool2d(value, *arguments, **(named | {"return_indices": False}))
    return pooled, pooled


def _unpool(
    value: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    if output_size is None:
        kernel, step, edge = (_pair(size) for size in (kernel_size, stride or kernel_size, padding))
        output_size = [
            (size - 1) * step[axis] - 2 * edge[axis] + kernel[axis]
            for axis, size in enumerate(value.shape[2:])
        ]
    return functional.interpolate(value + indices, size=tuple(output_size)[-2:], mode="nearest")


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _stand_ins() -> dict[Any, Callable[..., Any]]:
    table: dict[Any, Callable[..., Any]] = {getattr(torch, name): _sum for name in _COMPARISONS}
    table |= {getattr(Tensor, name): _sum for name in (*_COMPARISONS, *_DUNDERS)}
    table |= {torch.where: _sum, Tensor.where: _sum, Tensor.masked_fill: _sum, torch.masked_fill: _sum}
    table |= {torch.logical_not: _same, Tensor.logical_not: _same, Tensor.__invert__: _same}
    table |= {Tensor.detach: _same, Tensor.bool: _same}
    table |= {functional.max_pool2d_with_indices: _pool_with_indices, functional.max_unpool2d: _unpool}
    return table


class _StandIns(TorchFunctionMode):
    """Replaces operations without a gradient by sums of their arguments: only the graph is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self._table = _stand_ins()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the stand-in of `func`, or `func` itself."""
        return self._table.get(func, func)(*args, **(kwargs or {}))
