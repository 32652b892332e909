"""One clean graph: what every target starts from.

Each pass is a function `pass_(model) -> bool` in a file of its own name; it changes the graph in place, says
whether it did, and its docstring draws the graph before and after.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from toolchain.converters.graph.flatten_channels_last import flatten_channels_last
from toolchain.converters.graph.fold_batch_norm import fold_batch_norm
from toolchain.converters.graph.fold_constants import fold_constants
from toolchain.converters.graph.fold_scale_shift import fold_scale_shift
from toolchain.converters.graph.fuse_gelu import fuse_gelu
from toolchain.converters.graph.fuse_hard_swish import fuse_hard_swish
from toolchain.converters.graph.inline_branches import inline_branches
from toolchain.converters.graph.lift_constants import lift_constants
from toolchain.converters.graph.load import load_onnx
from toolchain.converters.graph.merge_clips import merge_clips
from toolchain.converters.graph.merge_pads import merge_pads
from toolchain.converters.graph.merge_reshapes import merge_reshapes
from toolchain.converters.graph.merge_transposes import merge_transposes
from toolchain.converters.graph.quiet import quiet
from toolchain.converters.graph.remove_dead import remove_dead
from toolchain.converters.graph.remove_noops import remove_noops
from toolchain.converters.graph.require_static import require_static_inputs, require_static_values
from toolchain.converters.graph.unique_names import unique_names
from toolchain.converters.graph.unpack_sequences import unpack_sequences

__all__ = ["PASSES", "clean", "flatten_channels_last", "load_onnx"]

PASSES: tuple[Callable[[ir.Model], bool], ...] = (
    lift_constants,
    fold_constants,
    inline_branches,
    unpack_sequences,
    remove_noops,
    fold_batch_norm,
    fuse_hard_swish,
    fuse_gelu,
    fold_scale_shift,
    merge_clips,
    merge_pads,
    merge_transposes,
    merge_reshapes,
    remove_dead,
)
"""What `clean` runs, in this order, until nothing changes."""

ROUNDS = 100
"""More rounds than any graph needs: every pass removes nodes or moves them one way only."""


def clean(model: ir.Model) -> None:
    """Bring a graph into the one form that the targets lower, in place.

    Afterwards

    - every value has a known element type and a static shape,
    - constants are initializers, none of them a graph input, each with a name of its own,
    - there are no Constant, Dropout and no-op nodes; an Identity is left only where a graph output would
      otherwise be a graph input, an initializer or another output,
    - no BatchNormalization with constant parameters is left,
    - nodes are sorted topologically and have unique names that are not empty,
    - graph inputs and outputs have the names that they had.

    Weights are not written to: folding makes new initializers, since weights may be shared with other nodes
    or with a PyTorch module. Subgraphs of control flow and nodes of foreign domains stay as they are.

    Args:
        model: graph with static input shapes and functions inlined, as `torch_to_onnx` and `load_onnx` make.

    Raises:
        UnsupportedError: an input has no static shape, a node contradicts its operator's definition, or
            batch normalization is in training mode.
        UnsupportedOpsError: shapes or types cannot be known from some node on; all such nodes are listed.
    """
    _forget_default_inputs(model.graph)
    require_static_inputs(model)
    model.graph.sort()
    unique_names(model)
    with quiet():
        for _ in range(ROUNDS):
            changes = [change(model) for change in PASSES]
            if not any(changes):
                break
    unique_names(model)
    require_static_values(model)


def _forget_default_inputs(graph: ir.Graph) -> None:
    """An initializer that is a graph input too is the default of an optional input; here it is a constant."""
    kept = [value for value in graph.inputs if not value.is_initializer()]
    if len(kept) != len(graph.inputs):
        graph.inputs.clear()
        graph.inputs.extend(kept)
