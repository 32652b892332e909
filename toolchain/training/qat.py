"""Quantization-aware training: a network that computes as its int8 file will, with gradients.

Weights and activations are rounded in the forward pass and the gradient passes the rounding unchanged
(straight-through estimator, arXiv:1712.05877). What is rounded, and with which steps, follows
`toolchain.converters.quantize`: weights symmetric per output channel in [-127, 127] after BatchNorm is folded
into them, activations asymmetric per tensor, one scale for all values that pools, concatenations and the
like only move, and no rounding between an operator and the ReLU that is fused into it.

The parameters stay those of the network itself, BatchNorm included, so that its state dict is an ordinary
one: it is exported through the same pairs as any other.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn import functional

from toolchain.errors import UnsupportedError

LOW, HIGH = -128, 127
WEIGHT_MOST = 127
# Share of a new batch in the running range.
MOMENTUM = 0.02
SMALLEST = 1e-8

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
FUSED_MODULES = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
FUSED_FUNCTIONS = (functional.relu, functional.relu6, functional.hardtanh, torch.relu, torch.clamp)
FUSING_MODULES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)
FUSING_FUNCTIONS = (operator.add, torch.add, operator.sub, torch.sub, operator.mul, torch.mul)
MOVING_MODULES = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.Upsample,
    nn.Flatten,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.PixelShuffle,
)
MOVING_FUNCTIONS = (
    functional.max_pool2d,
    functional.avg_pool2d,
    functional.interpolate,
    functional.pad,
    functional.pixel_shuffle,
    torch.max_pool2d,
    torch.cat,
    torch.flatten,
    torch.reshape,
    operator.getitem,
)
MOVING_METHODS = ("flatten", "reshape", "view", "permute", "transpose", "contiguous")


class RoundedActivation(nn.Module):
    """Rounds to int8 with the running range of what it has seen; asymmetric, 0 is exact.

    While training, the range of each value follows its smallest and largest number of the batches; in
    evaluation mode it is kept. What was never seen is not rounded.

    Args:
        values: how many values are stored with the one scale that holds the ranges of all of them.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, values: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(values))
        self.register_buffer("high", torch.zeros(values))
        self.register_buffer("seen", torch.zeros(values, dtype=torch.bool))

    def forward(self, x: Any, value: int) -> Any:
        """Any shape -> the same shape, float32; what is no tensor of floats is given back.

        Args:
            x: what is to be stored.
            value: which of the values it is.
        """
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        x = x.float()
        if self.training:
            self._observe(x.detach(), value)
        if not self.seen.any():
            return x
        low, high = self.low.min(), self.high.max()
        step = ((high - low) / (HIGH - LOW)).clamp_min(SMALLEST)
        zero = (LOW - low / step).round().clamp(LOW, HIGH).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, step, zero, LOW, HIGH)

    @torch.no_grad()
    def _observe(self, x: Tensor, value: int) -> None:
        low, high = x.aminmax()
        share = torch.where(self.seen[value], MOMENTUM, 1.0)
        self.low[value] += share * (low.clamp_max(0) - self.low[value])
        self.high[value] += share * (high.clamp_min(0) - self.high[value])
        self.seen[value] = True


def rounded_weights(weights: Tensor, axis: int) -> Tensor:
    """Weights as int8 holds them: symmetric in [-127, 127], one scale for each index of `axis`."""
    others = [a for a in range(weights.ndim) if a != axis]
    scale = (weights.detach().abs().amax(others) / WEIGHT_MOST).clamp_min(SMALLEST)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weights, scale, zero, axis, -WEIGHT_MOST, WEIGHT_MOST)


class RoundedConvolution(nn.Module):
    """A convolution, the BatchNorm behind it folded in with its running statistics, and rounded weights.

    The two modules keep their parameters; the statistics do not change any more.
    """

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d | None) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, norm

    def forward(self, x: Tensor) -> Tensor:
        """As the convolution."""
        made, weight, bias = self.convolution, self.convolution.weight.float(), self.convolution.bias
        shift = None
        axis = 1 if isinstance(made, nn.ConvTranspose2d) else 0
        if self.norm is not None:
            factor, shift = _folded(self.norm)
            weight = weight * factor.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])
            if bias is not None:
                bias, shift = bias * factor + shift, None
        changed = {"weight": rounded_weights(weight, axis)} | ({} if bias is None else {"bias": bias})
        result = functional_call(made, changed, (x,))
        return result if shift is None else result + shift.reshape(1, -1, 1, 1)


class RoundedLinear(nn.Module):
    """A linear layer with rounded weights, one scale for each output."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        return functional.linear(x, rounded_weights(self.linear.weight.float(), 0), self.linear.bias)


def _folded(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and shift per channel of a BatchNorm with its running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = torch.rsqrt(norm.running_var + norm.eps)
    factor = factor if norm.weight is None else factor * norm.weight
    shift = -norm.running_mean * factor
    return factor, shift if norm.bias is None else shift + norm.bias


def fake_quantized(network: nn.Module) -> fx.GraphModule:
    """A module of the same inputs and outputs that computes as the int8 file of the network will.

    ::

        x -> Conv -> BN -> ReLU6 -> MaxPool -> y
        x -> [round] -> Conv(round(folded weights)) -> ReLU6 -> MaxPool -> [round] -> y

    It shares all parameters with `network`: training it trains the network. The ranges of the activations
    are buffers of the result alone. Outputs are rounded too, as in the file.

    Args:
        network: a network whose forward torch.fx can trace.

    Raises:
        UnsupportedError: the forward depends on values, or a BatchNorm has no running statistics.
    """
    try:
        traced = fx.symbolic_trace(network)
    except Exception as error:
        raise UnsupportedError(
            f"the network cannot be traced for quantization-aware training: {error}",
            "leave out control flow that depends on values, or train without --qat",
        ) from error
    modules = dict(traced.named_modules())
    _round_weights(traced, modules)
    _round_activations(traced, modules)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _round_weights(traced: fx.GraphModule, modules: dict[str, nn.Module]) -> None:
    for node in list(traced.graph.nodes):
        layer = _module_of(node, modules)
        if isinstance(layer, nn.Linear):
            _replace(traced, modules, node, RoundedLinear(layer))
        elif isinstance(layer, CONVOLUTIONS):
            after = next(iter(node.users)) if len(node.users) == 1 else None
            norm = _module_of(after, modules)
            if after is None or not isinstance(norm, nn.BatchNorm2d):
                _replace(traced, modules, node, RoundedConvolution(layer, None))
                continue
            if norm.running_mean is None:
                raise UnsupportedError(
                    f"'{after.target}' has no running statistics", "train it with track_running_stats=True"
                )
            _replace(traced, modules, node, RoundedConvolution(layer, norm))
            after.replace_all_uses_with(node)
            traced.graph.erase_node(after)


def _replace(traced: fx.GraphModule, modules: dict[str, nn.Module], node: fx.Node, layer: nn.Module) -> None:
    name = f"rounded_{node.name}"
    traced.add_submodule(name, layer)
    modules[name] = layer
    node.target = name


def _round_activations(traced: fx.GraphModule, modules: dict[str, nn.Module]) -> None:
    """Insert one rounding behind each value that is stored; values that are only moved share it."""
    groups = _scale_groups(traced.graph.nodes, modules)
    stored: dict[fx.Node, list[fx.Node]] = {}
    for node, group in groups.items():
        if not _moves(node, modules) and not _is_fused_into_next(node, modules):
            stored.setdefault(group, []).append(node)
    for group, nodes in stored.items():
        name = f"round_{group.name}"
        traced.add_submodule(name, RoundedActivation(len(nodes)))
        for number, node in enumerate(nodes):
            with traced.graph.inserting_after(node):
                made = traced.graph.call_module(name, (node, number))
            for user in list(node.users):
                if user is not made:
                    user.replace_input_with(node, made)


def _scale_groups(nodes: Iterable[fx.Node], modules: dict[str, nn.Module]) -> dict[fx.Node, fx.Node]:
    """Value -> the first value of those that are stored with one scale."""
    first: dict[fx.Node, fx.Node] = {}

    def root(node: fx.Node) -> fx.Node:
        while first[node] is not node:
            node = first[node]
        return node

    for node in nodes:
        if node.op in ("output", "get_attr"):
            continue
        first[node] = node
        if _moves(node, modules):
            for source in node.all_input_nodes:
                if source in first:
                    first[root(node)] = root(source)
    return {node: root(node) for node in first}


def _moves(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    layer = _module_of(node, modules)
    return (
        isinstance(layer, MOVING_MODULES)
        or (node.op == "call_function" and node.target in MOVING_FUNCTIONS)
        or (node.op == "call_method" and node.target in MOVING_METHODS)
    )


def _is_fused_into_next(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a ReLU is computed while this value is written, so that the value itself is never stored."""
    if len(node.users) != 1:
        return False
    after = next(iter(node.users))
    fusing = isinstance(_module_of(node, modules), (*FUSING_MODULES, RoundedConvolution, RoundedLinear)) or (
        node.op == "call_function" and node.target in FUSING_FUNCTIONS
    )
    fused = isinstance(_module_of(after, modules), FUSED_MODULES) or (
        after.op == "call_function" and after.target in FUSED_FUNCTIONS
    )
    return fusing and fused


def _module_of(node: fx.Node | None, modules: dict[str, nn.Module]) -> Any:
    return modules.get(str(node.target)) if node is not None and node.op == "call_module" else None
