"""Weights that compute nothing are refused by name; infinities with a meaning are not."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.graph.require_finite import require_finite_weights
from toolchain.errors import UnsupportedError

CONV = "(float[1,2,4,4] x) => (float[1,2,4,4] y) { y = Conv(x, w, b) }"
GEMM = "(float[1,3] x) => (float[1,2] y) { t = Transpose(w) i = Identity(t) y = Gemm(x, i) }"
MATMUL = "(float[1,3] x) => (float[1,2] y) { y = MatMul(x, w) }"
NORM = "(float[1,2,4,4] x) => (float[1,2,4,4] y) { y = BatchNormalization(x, v, w, v, v) }"
MASK = "(float[1,3] x) => (float[1,3] y) { m = Add(x, w) y = Softmax(m) }"
CLIP = "(float[1,3] x) => (float[1,3] y) { y = Clip(x, low, w) }"


def array(value: float, *shape: int) -> np.ndarray:
    """Ones, and one of them replaced."""
    made = np.ones(shape, np.float32)
    made.flat[-1] = value
    return made


@pytest.mark.parametrize(
    ("text", "shape", "more", "value", "said"),
    [
        (CONV, (2, 2, 1, 1), {"b": array(1, 2)}, np.nan, "'w', which Conv 'y' reads, holds NaN"),
        (CONV, (2, 2, 1, 1), {"b": array(1, 2)}, np.inf, "'w', which Conv 'y' reads, holds infinite"),
        (GEMM, (2, 3), {}, -np.inf, "'w', which Gemm 'y' reads, holds infinite"),
        (MATMUL, (3, 2), {}, np.inf, "'w', which MatMul 'y' reads, holds infinite"),
        (NORM, (2,), {"v": array(1, 2)}, np.inf, "'w', which BatchNormalization 'y' reads, holds infinite"),
        (MASK, (3,), {}, np.nan, "'w', which Add 'm' reads, holds NaN"),
        (MASK, (3,), {}, -np.inf, None),
        (CLIP, (), {"low": np.float32(0)}, np.inf, None),
        (CONV, (2, 2, 1, 1), {"b": array(1, 2)}, 1e38, None),
    ],
)
def test_what_is_refused(text: str, shape, more, value: float, said: str | None, graphs) -> None:
    model = graphs.parse(graphs.build(text, w=array(value, *shape), **more))
    if said is None:
        require_finite_weights(model)
        return
    with pytest.raises(UnsupportedError) as caught:
        require_finite_weights(model)
    assert caught.value.message == f"{said} values"
