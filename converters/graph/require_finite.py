"""The condition on constants: no NaN, and no infinity among weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolchain.converters.graph.rewrite import STANDARD
from toolchain.errors import UnsupportedError

# Operators that multiply or add their constants: one infinity there makes NaN or infinities of everything.
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"})
# Operators whose output holds the numbers of their first input.
CARRYING = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def require_finite_weights(model: ir.Model) -> None:
    """Raise UnsupportedError that names the first constant whose numbers compute nothing.

    NaN is refused in every constant that is read. Infinity is refused in the weights of WEIGHTED operators
    only: elsewhere it is a bound of Clip, or an attention mask.
    """
    checked: set[tuple[int, bool]] = set()
    for node in model.graph.all_nodes():
        weighted = node.domain == STANDARD and node.op_type in WEIGHTED
        for value in node.inputs:
            origin = _origin(value) if weighted else value
            if origin is None or (id(origin), weighted) in checked:
                continue
            checked.add((id(origin), weighted))
            tensor = ir.convenience.get_const_tensor(origin)
            if tensor is not None and tensor.dtype.is_floating_point():
                _check(tensor.numpy(), origin.name or "", node, weighted)


def _check(array: np.ndarray, name: str, node: ir.Node, weighted: bool) -> None:
    broken = "NaN" if np.isnan(array).any() else None
    if broken is None and weighted and np.isinf(array).any():
        broken = "infinite"
    if broken is not None:
        reader = node.name or node.outputs[0].name
        raise UnsupportedError(
            f"'{name}', which {node.op_type} '{reader}' reads, holds {broken} values",
            "train the network again, or load weights that are numbers",
        )


def _origin(value: ir.Value | None) -> ir.Value | None:
    """The value whose numbers these are, in another order, shape or type."""
    while value is not None and (node := value.producer()) is not None and node.op_type in CARRYING:
        value = node.inputs[0]
    return value
