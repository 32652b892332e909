"""Which kernels are zero, which are to become zero, and how they are held there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from toolchain.compress.sparsity.kernels import convolutions

# Parameters with the rows of them that are held at zero.
Held = list[tuple[nn.Parameter, Tensor]]


def zeroed_kernels(network: nn.Module) -> dict[str, Tensor]:
    """For every convolution: which filters have nothing but exact zeros as weights.

    The bias of such a filter, and the BatchNorm behind it, may be anything.

    Returns:
        Name -> (filters,) bool.
    """
    return {name: is_zero(layer) for name, layer in convolutions(network).items()}


def is_zero(layer: nn.Conv2d) -> Tensor:
    """(filters,) bool: all weights of the filter are exactly 0."""
    return (layer.weight.detach() == 0).flatten(1).all(1)


def weakest_kernels(norms: Mapping[str, Tensor], threshold: float, scope: str) -> dict[str, Tensor]:
    """The kernels that together make less than a share `threshold` of all.

    N is scaled to the sum 1 and sorted; chosen are the smallest kernels as long as their cumulative sum stays
    under the threshold.

    Args:
        norms: n of every kernel, by layer; finite, not negative.
        threshold: 0 to 1; 0 chooses none.
        scope: "global": one N over all layers; "layer": one for each.

    Returns:
        Layer -> (filters,) bool.
    """
    if scope == "layer":
        return {name: _under(values, threshold) for name, values in norms.items()}
    chosen = _under(torch.cat(list(norms.values())), threshold)
    parts = chosen.split([len(values) for values in norms.values()])
    return dict(zip(norms, parts, strict=True))


def _under(values: Tensor, threshold: float) -> Tensor:
    # Twice the digits: the sum of thousands of values decides about the last one.
    ordered, order = values.double().sort(stable=True)
    total = ordered.cumsum(0)
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[order] = total < threshold * total[-1]
    return chosen


def with_strongest(
    norms: Mapping[str, Tensor], chosen: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Let no layer lose all its kernels: the strongest stays.

    Args:
        norms: n of every kernel, by layer.
        chosen: the kernels that are to go, by layer.

    Returns:
        The kernels that go, and the layers in which one was spared.
    """
    spared = tuple(name for name, mask in chosen.items() if bool(mask.all()))
    kept = {name: mask.clone() for name, mask in chosen.items()}
    for name in spared:
        kept[name][norms[name].argmax()] = False
    return kept, spared


def rows_to_hold(
    layers: Mapping[str, nn.Conv2d],
    zeroed: Mapping[str, Tensor],
    norms: Mapping[str, Sequence[nn.BatchNorm2d]] | None,
) -> Held:
    """The parameters that belong to zeroed kernels.

    Args:
        layers: convolutions by name.
        zeroed: layer -> (filters,) bool.
        norms: the BatchNorms directly behind each convolution; with them, the scale and shift of a zeroed
            kernel and the convolution's bias belong to it. None: weights alone.

    Returns:
        Each parameter with a bool mask over its first axis, on the parameter's device.
    """
    held: Held = []
    for name, mask in zeroed.items():
        if not bool(mask.any()):
            continue
        layer = layers[name]
        owned: list[Tensor | None] = [layer.weight]
        if norms is not None:
            owned.append(layer.bias)
            owned += [parameter for norm in norms.get(name, ()) for parameter in (norm.weight, norm.bias)]
        held += [
            (cast(nn.Parameter, parameter), mask.to(parameter.device))
            for parameter in owned
            if parameter is not None
        ]
    return held


@torch.no_grad()
def zero_rows(held: Iterable[tuple[Tensor | None, Tensor]]) -> None:
    """Set the masked rows (first axis) of every tensor to exactly 0, whatever is in them."""
    for tensor, mask in held:
        if tensor is not None:
            tensor.masked_fill_(mask.view(-1, *[1] * (tensor.ndim - 1)), 0)


def zero_gradients(held: Held) -> None:
    """Zeroed kernels have no gradient."""
    zero_rows((parameter.grad, mask) for parameter, mask in held)


def zero_states(optimizer: torch.optim.Optimizer, held: Held) -> None:
    """Empty what an optimizer remembers of zeroed kernels: momentum, squares, averages.

    A state is a tensor with one row per filter; others (the number of steps) stay.
    """
    for parameter, mask in held:
        states = optimizer.state[parameter].values() if parameter in optimizer.state else ()
        rows = [s for s in states if isinstance(s, Tensor) and s.ndim and len(s) == len(mask)]
        zero_rows((state, mask.to(state.device)) for state in rows)
