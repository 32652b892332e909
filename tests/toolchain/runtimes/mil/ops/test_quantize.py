"""Quantization against coremltools' own evaluation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

GENERATOR = np.random.default_rng(23)
X = (GENERATOR.normal(size=(2, 3, 4)) * 90).astype(np.float32)
X[0, 0] = [0.5, 1.5, 2.5, -0.5]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [None, 1, -1])
@pytest.mark.parametrize("shifted", [True, False])
def test_round_trip(
    run_program: Callable, fold_program: Callable, dtype: str, axis: int | None, shifted: bool
) -> None:
    count = () if axis is None else X.shape[axis]
    scale = np.float32(1.0) if axis is None else GENERATOR.uniform(0.5, 2, count).astype(np.float32)
    shift = np.dtype(dtype).type(7) if axis is None else GENERATOR.integers(0, 100, count).astype(dtype)
    parameters = {"scale": scale} | ({} if axis is None else {"axis": axis})
    parameters |= {"zero_point": shift} if shifted else {}

    def build(mb, x):
        quantized = mb.quantize(input=x, output_dtype=dtype, **parameters)
        return mb.dequantize(input=quantized, **parameters), mb.cast(x=quantized, dtype="int32")

    back, quantized = run_program(build, {"x": X}, 17).values()

    def alone(mb, x):
        return mb.quantize(input=x, output_dtype=dtype, **parameters)

    expected = fold_program(alone, {"x": X}, 17)[0]
    np.testing.assert_array_equal(quantized, expected.astype(np.int32))
    sizes = [-1 if axis is not None and place == axis % 3 else 1 for place in range(3)]
    zero = shift.reshape(sizes).astype(np.float32) if shifted else 0
    np.testing.assert_allclose(back, (expected - zero) * scale.reshape(sizes), rtol=1e-6)
