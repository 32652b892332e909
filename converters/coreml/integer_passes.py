"""coremltools' passes over quantized activations, kept from what they would get wrong.

- Reshaping integers in place of `dequantize -> reshape -> quantize` is right only where both have the same
  scale, zero point and type; coremltools does not look.
- Scaling an addition so that one of its operands has the scale 1 (which a backend need not multiply with) is
  right only while the other operand stays within float16, and scales keep their precision there.
- `dequantize -> quantize` is no identity where the types differ, at which coremltools does not look either:
  `dequantize_quantize_pair_elimination` is left out.

And one of our own: a quantized network repeats the same few scales, zero points, strides and axes at each
operation, each of about a hundred bytes in the specification; equal ones become one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.converters.coreml.mil import Block, Operation, Program, Var
from toolchain.converters.coreml.quiet import import_coremltools, quiet_coremltools

import_coremltools()
with quiet_coremltools():
    from coremltools.converters.mil.mil.passes.defs.optimize_quantization import (
        distributive_quantized_binary_op_scale_normalization as scale_normalization,
    )
    from coremltools.converters.mil.mil.passes.defs.optimize_quantization import int_op_canonicalization
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

NAMESPACE = "toolchain"
SHARE_CONSTANTS = f"{NAMESPACE}::share_constants"
# 127 * 255 + 255 steps are within float16, and scales from 2**-14 on have all of its digits.
LARGEST_RATIO = 127.0
SMALLEST_RATIO = 2.0**-14


@register_pass(namespace=NAMESPACE, name="reshape_integers", override=True)
class ReshapeIntegers(int_op_canonicalization):
    """dequantize -> reshape -> quantize becomes a reshape of integers where both have the same parameters."""

    def match_pattern(self, op: Operation) -> tuple[Operation, Operation] | None:
        """The two operations around a reshape that can go."""
        found = super().match_pattern(op)
        return found if found is not None and _mean_the_same(*found) else None


@register_pass(namespace=NAMESPACE, name="normalize_added_scales", override=True)
class NormalizeAddedScales(scale_normalization):
    """x * s + y * t -> u becomes x * (s / t) + y -> u / t."""

    def try_to_divide(
        self, dequantize_x: Operation, dequantize_y: Operation, quantize_z: Operation
    ) -> tuple[Any, Any]:
        """(s / t, u / t), or (None, None) where float16 would not hold the numbers."""
        ratios = super().try_to_divide(dequantize_x, dequantize_y, quantize_z)
        if ratios[0] is None:
            return ratios
        x, z = (np.asarray(ratio) for ratio in ratios)
        is_sound = x.max() <= LARGEST_RATIO and min(x.min(), z.min()) >= SMALLEST_RATIO
        return ratios if is_sound else (None, None)


def _mean_the_same(dequantize: Operation, quantize: Operation) -> bool:
    """Whether integers before the one and behind the other stand for the same numbers."""
    one_scale = dequantize.axis is None and quantize.axis is None
    return (
        one_scale
        and dequantize.input.dtype == quantize.outputs[0].dtype
        and dequantize.scale.val == quantize.scale.val
        and _zero_point(dequantize) == _zero_point(quantize)
    )


def _zero_point(operation: Operation) -> int:
    return 0 if operation.zero_point is None else int(operation.zero_point.val)


@register_pass(namespace=NAMESPACE, name="share_constants", override=True)
class ShareConstants(AbstractGraphPass):
    """Constants of the same type, shape and bytes become the first of them.

    coremltools' own `const_deduplication` leaves those below a hundred elements, and takes numbers that are
    close for the same, which scales must not be.
    """

    def apply(self, prog: Program) -> None:
        """Share the constants of every function; those inside of branches stay."""
        for function in prog.functions.values():
            _share(function)


def _share(block: Block) -> None:
    first: dict[tuple[object, ...], Var] = {}
    for operation in list(block.operations):
        made = operation.outputs[0] if operation.op_type == "const" else None
        if made is None or made.val is None or made in block.outputs:
            continue
        kept = first.setdefault(_identity(made), made)
        if kept is not made:
            block.replace_uses_of_var_after_op(anchor_op=operation, old_var=made, new_var=kept)
            block.remove_ops([operation])


def _identity(constant: Var) -> tuple[object, ...]:
    value = constant.val
    data = np.ascontiguousarray(value)
    content = value if isinstance(value, str) else data.tobytes()
    return str(constant.dtype), data.shape, data.dtype.str, content
