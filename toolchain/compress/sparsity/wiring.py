"""Which BatchNorms lie directly behind a convolution, and which convolutions make the network's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn

# What ends the way back from the output: layers that mix channels.
MIXING = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class Wiring:
    """What the graph of a network says about its convolutions.

    Attributes:
        outputs: names of the convolutions whose filters are channels of an output: nothing but element-wise
            operators, pools, norms, sums, concatenations and resizing lies behind them.
        norms: names of the BatchNorms that take the result of a convolution and nothing else, by its name.
    """

    outputs: frozenset[str]
    norms: dict[str, tuple[str, ...]]


def read_wiring(network: nn.Module) -> Wiring | None:
    """Trace a network with torch.fx, without running it.

    Args:
        network: any module.

    Returns:
        None when the network cannot be traced: its control flow depends on data, for example.
    """
    try:
        graph = fx.Tracer().trace(network)
    except Exception:
        # Any Python code runs in a forward pass, and so any error may come out of it.
        return None
    names = {id(module): name for name, module in network.named_modules()}
    modules = {
        node: network.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"
    }
    return Wiring(_outputs(graph, modules, names), _norms(modules, names))


def _outputs(graph: fx.Graph, modules: dict[fx.Node, nn.Module], names: dict[int, str]) -> frozenset[str]:
    found: set[str] = set()
    waiting: list[fx.Node] = [node for node in graph.nodes if node.op == "output"]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        module = modules.get(node)
        if isinstance(module, MIXING):
            if isinstance(module, nn.Conv2d):
                found.add(names[id(module)])
            continue
        fresh = [below for below in node.all_input_nodes if below not in seen]
        seen.update(fresh)
        waiting += fresh
    return frozenset(found)


def _norms(modules: dict[fx.Node, nn.Module], names: dict[int, str]) -> dict[str, tuple[str, ...]]:
    sources: dict[int, set[int]] = {}
    for node, module in modules.items():
        if isinstance(module, nn.BatchNorm2d):
            below: Any = (
                modules.get(node.args[0]) if node.args and isinstance(node.args[0], fx.Node) else None
            )
            sources.setdefault(id(module), set()).add(id(below))
    convolutions = {id(module) for module in modules.values() if isinstance(module, nn.Conv2d)}
    found: dict[str, tuple[str, ...]] = {}
    for norm, below in sources.items():
        # A norm with several sources belongs to none of them.
        (source,) = below if len(below) == 1 else {None}
        if source in convolutions:
            found[names[source]] = (*found.get(names[source], ()), names[norm])
    return found
