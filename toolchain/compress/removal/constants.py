"""Which values of a network do not depend on its inputs, and what they are.

The network is recorded as a list of ATen operations, and each is run twice: on numbers, and on a mask of the
elements that depend on an input. A zeroed filter gives its bias whatever it sees, batch normalization and
activations make another constant of that, and zero padding makes it differ at the borders; here all of that
is read off instead of being reasoned about layer by layer. An operation that is not known here makes
everything depend on the inputs as soon as one element does.
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from toolchain.compress.removal.module_place import ModulePlace

# Rounding in float64, as that of bilinear upsampling of a constant.
SAME = 1e-12
CONVOLUTION = ("convolution",)
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
# What takes a maximum or an average with positive weights: an output depends on what its window does.
WINDOWS = (
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "avg_pool2d",
    "avg_pool3d",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
    "adaptive_max_pool2d",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact2d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_trilinear3d",
    "mean",
    "sum",
    "amax",
)
# What only moves elements; the mask moves along.
MOVES = (
    "view",
    "_unsafe_view",
    "reshape",
    "permute",
    "transpose",
    "t",
    "expand",
    "squeeze",
    "unsqueeze",
    "clone",
    "alias",
    "detach",
    "slice",
    "select",
    "split",
    "split_with_sizes",
    "unbind",
    "cat",
    "stack",
    "flip",
    "roll",
    "repeat",
    "constant_pad_nd",
    "reflection_pad2d",
    "replication_pad2d",
    "pixel_shuffle",
    "pixel_unshuffle",
    "_to_copy",
    "lift_fresh_copy",
)
# Rules that look at the masks of more than their first argument.
SEVERAL = ("cat", "stack", "max_unpool2d", *PRODUCTS)


@dataclass(frozen=True)
class InputConstants:
    """What a layer is fed, channel by channel, over all its calls.

    Attributes:
        known: (channels,) bool: no element of the channel depends on the network's inputs.
        uniform: (channels,) bool: all elements of the channel are the same number, at every call.
        value: (channels,) float64: that number; meaningless for other channels.
    """

    known: Tensor
    uniform: Tensor
    value: Tensor


def input_constants(network: nn.Module, example: Sequence[Tensor]) -> dict[str, InputConstants]:
    """The constants among the inputs of all convolutions and linear layers.

    Args:
        network: in evaluation mode; left as it is.
        example: its inputs: shapes and types count, floating-point numbers are replaced by random ones.

    Returns:
        Name of the layer's weight -> its input. Layers that the network does not call are not there.

    Raises:
        UnsupportedError: the network cannot be recorded; the message names the module.
    """
    twin = copy.deepcopy(network).double().eval().requires_grad_(False)
    weights = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
    inputs = random_inputs(example)
    recorded = _record(twin, list(weights), list(weights.values()), inputs)
    feeds = [*weights.values(), *inputs]
    masks = [False] * len(weights) + [True] * len(inputs)
    walk = _Walk(recorded, list(weights))
    with torch.no_grad():
        walk.run(feeds, masks)
    return walk.found


def random_inputs(example: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """Inputs of the same shapes: normally distributed float64, other types as they are."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if value.is_floating_point()
        else value.clone()
        for value in example
    ]


def _record(
    network: nn.Module, names: list[str], weights: list[Tensor], inputs: list[Tensor]
) -> fx.GraphModule:
    from torch.func import functional_call, functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    def call(values: list[Tensor], *given: Tensor) -> Any:
        return functional_call(network, dict(zip(names, values, strict=True)), given)

    with ModulePlace(network) as place:
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return make_fx(functionalize(call))(weights, *inputs)
        except Exception as error:
            raise place.refusal(error) from error


class _Walk:
    """Runs a recorded network once, with the mask beside every value.

    Args:
        recorded: the network.
        names: of its first inputs, the weights.
    """

    def __init__(self, recorded: fx.GraphModule, names: list[str]) -> None:
        self.recorded, self.names = recorded, names
        self.found: dict[str, InputConstants] = {}
        self._values: dict[fx.Node, Any] = {}
        self._masks: dict[fx.Node, Any] = {}
        # Node -> name of the weight that it is, possibly transposed.
        self._weight: dict[fx.Node, str] = {}

    def run(self, feeds: Sequence[Tensor], masks: Sequence[bool]) -> None:
        """Run all operations; fills `found`."""
        last = _last_uses(self.recorded.graph)
        waiting = iter(zip(feeds, masks, strict=True))
        names = iter(self.names)
        for node in self.recorded.graph.nodes:
            if node.op == "placeholder":
                value, depends = next(waiting)
                self._set(node, value, _like(value, depends))
                if (name := next(names, None)) is not None:
                    self._weight[node] = name
            elif node.op == "get_attr":
                value = getattr(self.recorded, str(node.target))
                self._set(node, value, _like(value, False))
            elif node.op == "call_function":
                self._call(node)
            for used in last.get(node, ()):
                self._values.pop(used, None)
                self._masks.pop(used, None)

    def _set(self, node: fx.Node, value: Any, mask: Any) -> None:
        self._values[node], self._masks[node] = value, mask

    def _call(self, node: fx.Node) -> None:
        given: Any = fx.map_arg((node.args, node.kwargs), lambda used: self._values[used])
        masks: Any = fx.map_arg((node.args, node.kwargs), lambda used: self._masks[used])
        assert callable(node.target)
        value = node.target(*given[0], **given[1])
        if node.target is operator.getitem:
            made, position = masks[0]
            self._set(node, value, made[position])
            return
        name = _base_name(node.target)
        self._note_weight(node, name)
        self._note_layer(node, name, given[0], masks[0])
        self._set(node, value, _mask_of(node.target, name, value, given, masks))

    def _note_weight(self, node: fx.Node, name: str) -> None:
        """Transposing, viewing or copying a weight leaves it the weight of that name."""
        first = node.args[0] if node.args else None
        if name in MOVES and isinstance(first, fx.Node) and first in self._weight:
            self._weight[node] = self._weight[first]

    def _note_layer(self, node: fx.Node, name: str, given: Sequence[Any], masks: Sequence[Any]) -> None:
        positions = {"convolution": (0, 1), "addmm": (1, 2), "mm": (0, 1)}
        if name not in positions:
            return
        data, weight = positions[name]
        used = node.args[weight]
        layer = self._weight.get(used) if isinstance(used, fx.Node) else None
        if layer is None:
            return
        axes = [axis for axis in range(given[data].dim()) if axis != 1]
        made = _summary(given[data], masks[data], axes)
        before = self.found.get(layer)
        self.found[layer] = made if before is None else _both(before, made)


def _summary(value: Tensor, mask: Tensor, axes: list[int]) -> InputConstants:
    known = ~mask.any(dim=axes[0]) if len(axes) == 1 else ~mask.flatten(2).any(2).any(0)
    low, high = value.amin(axes), value.amax(axes)
    middle = (low + high) / 2
    uniform = known & (high - low <= SAME * middle.abs().clamp(min=1))
    # An exact zero stays one: it costs nothing to remove.
    return InputConstants(known, uniform, torch.where(low == high, low, middle))


def _both(one: InputConstants, other: InputConstants) -> InputConstants:
    same = (one.value - other.value).abs() <= SAME * one.value.abs().clamp(min=1)
    return InputConstants(one.known & other.known, one.uniform & other.uniform & same, one.value)


def _base_name(target: Any) -> str:
    return target._schema.name.removeprefix("aten::") if hasattr(target, "_schema") else str(target)


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """After which node each value is not needed any more."""
    last = {used: node for node in graph.nodes for used in node.all_input_nodes}
    freed: dict[fx.Node, list[fx.Node]] = {}
    for used, node in last.items():
        freed.setdefault(node, []).append(used)
    return freed


def _like(value: Any, depends: bool) -> Any:
    """A mask in the form of `value`: nothing or everything depends on the inputs."""
    return pytree.tree_map_only(
        Tensor, lambda tensor: torch.full(tensor.shape, depends, dtype=torch.bool), value
    )


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor))


def _mask_of(target: Any, name: str, value: Any, given: Any, masks: Any) -> Any:
    """The mask of what an operation made of `given` with `masks`."""
    if torch.Tag.nondeterministic_seeded in target.tags or name.startswith("empty"):
        return _like(value, True)
    depending = [bool(mask.any()) for mask in _tensors(masks)]
    if not any(depending):
        return _like(value, False)
    if torch.Tag.pointwise in target.tags and isinstance(value, Tensor):
        found = torch.zeros(value.shape, dtype=torch.bool)
        for mask in _tensors(masks):
            found = found | mask
        return _without_zeros(given, masks, found) if name == "mul" else found
    # Weights and the like must be known; then the first argument alone carries the mask.
    alone = depending[0] and not any(depending[1:])
    rule = _RULES.get(name)
    if rule is None or (not alone and name not in SEVERAL):
        return _like(value, True)
    return rule(target, given, masks, value)


def _without_zeros(given: Any, masks: Any, found: Tensor) -> Tensor:
    """A product with a factor that is always 0 is 0, whatever the other factor depends on."""
    for factor, mask in zip(_tensors(given), _tensors(masks), strict=True):
        found = found & ~((factor == 0) & ~mask)
    return found


def _moved(target: Any, given: Any, masks: Any, value: Any) -> Any:
    arguments, named = list(masks[0]), dict(masks[1])
    if _base_name(target) == "constant_pad_nd":
        arguments = [*arguments[:2], 0.0]
    if _base_name(target) == "_to_copy":
        return arguments[0].clone()
    arguments[0] = pytree.tree_map_only(Tensor, lambda mask: mask.double(), arguments[0])
    made = target(*arguments, **named)
    return pytree.tree_map_only(Tensor, lambda mask: mask != 0, made)


def _window(target: Any, given: Any, masks: Any, value: Any) -> Any:
    arguments = list(masks[0])
    arguments[0] = arguments[0].double()
    made = target(*arguments, **masks[1])
    if isinstance(made, Tensor):
        return made > 0
    # Where the maximum is depends on the same elements as what it is.
    return tuple(made[0] > 0 for _ in made)


def _unpool(target: Any, given: Any, masks: Any, value: Any) -> Tensor:
    """A plane depends on the inputs if its values do, or the places of values that are not all zero."""
    depends, moves = (mask.flatten(2).any(2) for mask in masks[0][:2])
    filled = (given[0][0] != 0).flatten(2).any(2)
    return (depends | (moves & filled))[..., None, None].expand(value.shape).clone()


def _norm(target: Any, given: Any, masks: Any, value: Any) -> Any:
    training = given[0][5] if _base_name(target) != "_native_batch_norm_legit_no_training" else False
    if training:
        return _like(value, True)
    mask, scale = masks[0][0].clone(), given[0][1]
    if scale is not None:
        mask[:, scale == 0] = False
    return (mask, *_like(tuple(value[1:]), True))


def _convolution(target: Any, given: Any, masks: Any, value: Any) -> Tensor:
    weight = (given[0][1] != 0).double()
    return target(masks[0][0].double(), weight, None, *given[0][3:]) > 0.5


def _product(target: Any, given: Any, masks: Any, value: Any) -> Tensor:
    named = _base_name(target)
    start = 1 if named in ("addmm", "baddbmm") else 0
    left, right = given[0][start : start + 2]
    left_mask, right_mask = masks[0][start : start + 2]
    left_used, right_used = ((left != 0) | left_mask).double(), ((right != 0) | right_mask).double()
    made = (left_mask.double() @ right_used + left_used @ right_mask.double()) > 0.5
    return made | masks[0][0] if start else made


_RULES: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    **dict.fromkeys(MOVES, _moved),
    **dict.fromkeys(WINDOWS, _window),
    **dict.fromkeys(NORMS, _norm),
    **dict.fromkeys(CONVOLUTION, _convolution),
    **dict.fromkeys(PRODUCTS, _product),
    "max_unpool2d": _unpool,
}
