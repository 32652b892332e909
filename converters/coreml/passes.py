"""coremltools' passes over a program, run as one.

coremltools checks the whole program after every pass of a pipeline, which takes as long as the passes do.
Here a single pass runs them, so that the program is checked once, after the last.
"""

from __future__ import annotations

from typing import Any

from toolchain.converters.coreml.goal import NEURAL_NETWORK
from toolchain.converters.coreml.mil import Program
from toolchain.converters.coreml.quiet import import_coremltools, quiet_coremltools

import_coremltools()
with quiet_coremltools():
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

NAMESPACE = "toolchain"
OPTIMIZE = f"{NAMESPACE}::optimize"
# These round to float16, and indices to int16.
HALF = ("add_fp16_cast", "add_int16_cast")
# It makes a batch_norm of a mul and an add of one number per channel, but with an epsilon of 1e-5, which
# shrinks results by 5e-6, and also where the channels are those of the constants only, which is no program.
INEXACT = ("fuse_elementwise_to_batchnorm",)
# These look for quantized values; those of them that are exact run in a form of their own, see QUANTIZED.
INTEGER = (
    "int_op_canonicalization",
    "nullify_redundant_quantization_zero_point",
    "dequantize_quantize_pair_elimination",
    "distributive_quantized_binary_op_scale_normalization",
    "dequantize_to_constexpr",
    "canonicalize_quantized_lut_pattern",
    "merge_affine_dequantize_with_consecutive_ops",
)
# int8 with the zero point -128 becomes uint8 without one, which runs faster, before integers are reshaped.
QUANTIZED = (
    "common::nullify_redundant_quantization_zero_point",
    f"{NAMESPACE}::reshape_integers",
    f"{NAMESPACE}::normalize_added_scales",
)
# These look for what no handler emits: complex numbers, one_hot, loops, states, shapes that are not known.
IDLE = (
    "lower_complex_dialect_ops",
    "fuse_onehot_matmul_to_gather",
    "loop_invariant_elimination",
    "remove_symbolic_reshape",
    "canonicalize_inplace_pattern",
    "prefer_state_in_downstream",
)
# These make operations for which neural networks have no layer before iOS 14, or, for the last one, an
# operation that is taken apart again, which leaves a second copy of its weights.
LATER = ("replace_stack_reshape", "detect_concat_interleave", "concat_to_pixel_shuffle", "compose_conv1d")


def optimization_pipeline(kind: str, half: bool, quantized: bool = False) -> Any:
    """A pipeline of coremltools: its own default passes as one, without INEXACT, INTEGER and IDLE ones.

    Args:
        kind: ML_PROGRAM or NEURAL_NETWORK.
        half: compute in float16.
        quantized: the program has quantized activations.
    """
    pipeline = import_coremltools().PassPipeline.EMPTY
    pipeline.append_pass(OPTIMIZE)
    pipeline.set_options(OPTIMIZE, {"names": pass_names(kind, half, quantized)})
    return pipeline


def pass_names(kind: str, half: bool, quantized: bool = False) -> tuple[str, ...]:
    """Names of the passes in order; see `optimization_pipeline`."""
    names = (*INEXACT, *INTEGER, *IDLE, *(() if half else HALF), *(LATER if kind == NEURAL_NETWORK else ()))
    left_out = {f"common::{name}" for name in names}
    kept = tuple(name for name in import_coremltools().PassPipeline.DEFAULT.passes if name not in left_out)
    if not quantized:
        return kept
    from toolchain.converters.coreml import integer_passes  # noqa: F401  registers two of them

    return (*QUANTIZED, *kept)


@register_pass(namespace=NAMESPACE, name="optimize", override=True)
class Optimize(AbstractGraphPass):
    """Several registered passes, one after the other.

    Attributes:
        names: of the passes.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()

    def apply(self, prog: Program) -> None:
        """Run them."""
        for name in self.names:
            PASS_REGISTRY[name](prog)
