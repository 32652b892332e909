"""The kernels of a network: its convolutions, and the value n of each of their filters.

A kernel is one filter of a convolution, that is one output channel.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from toolchain.compress.sparsity.wiring import Wiring, read_wiring
from toolchain.errors import UnsupportedError, UsageError

NEAR = 3


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Every two-dimensional convolution by its name, in the order of the network; depthwise ones, too."""
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def sparse_layers(
    network: nn.Module, exempt: Sequence[str] = (), wiring: Wiring | None = None
) -> dict[str, nn.Conv2d]:
    """The convolutions whose kernels may be set to zero, in the order of the network.

    A convolution whose filters are channels of the network's output (the head of a face parser) is none of
    them: its filters are classes. They are found with torch.fx; in a network that cannot be traced they must
    be named in `exempt`.

    Args:
        network: any module.
        exempt: names of convolutions that are left alone, with the wildcards of `fnmatch`: "stem.*".
        wiring: of this network, if it is known already.

    Raises:
        UsageError: a pattern fits no convolution, or nothing is left.
        UnsupportedError: the weights of a convolution are computed from other parameters.
    """
    every = convolutions(network)
    for pattern in exempt:
        _check_pattern(pattern, list(every))
    wiring = wiring or read_wiring(network)
    outputs = wiring.outputs if wiring else frozenset()
    layers = {
        name: layer
        for name, layer in every.items()
        if name not in outputs and not any(fnmatchcase(name, pattern) for pattern in exempt)
    }
    if not layers:
        why = "all are exempt or make its output" if every else "it has none"
        raise UsageError(
            f"the network has no convolution whose kernels could be taken: {why}", "exempt fewer layers"
        )
    for name, layer in layers.items():
        if is_parametrized(layer, "weight") or "weight" not in layer._parameters:
            raise UnsupportedError(
                f"the weights of '{name}' are computed from other parameters, so they cannot be held at zero",
                f"remove the parametrization, or exempt '{name}'",
            )
    return layers


def kernel_norms(conv: nn.Conv2d) -> Tensor:
    """n of every kernel: the sum of |w| over the kernel, divided by the number of kernels of the layer.

    Args:
        conv: with weights (filters, channels / groups, height, width).

    Returns:
        (filters,), float32, not negative; differentiable, with the slope 0 where a weight is 0.
    """
    return conv.weight.float().abs().flatten(1).sum(1) / len(conv.weight)


def _check_pattern(pattern: str, names: list[str]) -> None:
    if any(fnmatchcase(name, pattern) for name in names):
        return
    near = difflib.get_close_matches(pattern, names, n=NEAR, cutoff=0.5)
    shown = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names[:NEAR])}, ..."
    raise UsageError(
        f"no convolution is called '{pattern}'", f"{shown} Wildcards are allowed, as in 'stem.*'"
    )
