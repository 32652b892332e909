"""coremltools' passes over quantized activations, kept from what they would get wrong.

- Reshaping integers in place of `dequantize -> reshape -> quantize` is right only where both have the same
  scale, zero point and type; coremltools does not look.
- Scaling an addition so that one of its operands has the scale 1 (which a backend need not multiply with) is
  right only while the other operand stays within float16, and scales keep their precision there.
- `dequantize -> quantize` is no identity where the types differ, at which coremltools does not look either:
  `dequantize_quantize_pair_elimination` is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.converters.coreml.mil import Operation
from toolchain.converters.coreml.quiet import import_coremltools, quiet_coremltools

import_coremltools()
with quiet_coremltools():
    from coremltools.converters.mil.mil.passes.defs.optimize_quantization import (
        distributive_quantized_binary_op_scale_normalization as scale_normalization,
    )
    from coremltools.converters.mil.mil.passes.defs.optimize_quantization import int_op_canonicalization
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

NAMESPACE = "toolchain"
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
