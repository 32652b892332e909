"""Matrix products and look-ups against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(6)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


WEIGHT, BIAS = normal(4, 6), normal(4)


@pytest.mark.parametrize("bias", [None, BIAS])
@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((6,), (4,)),
        ((3, 6), (3, 4)),
        ((2, 3, 6), (2, 3, 4)),
        ((2, 3, 1, 2), (2, 4, 1, 1)),
        ((2, 3, 1, 2, 3), (2, 3, 4, 1, 1)),
    ],
)
def test_inner_product(check_layers, shape, result, bias):
    x = normal(*shape)
    want = x.reshape(-1, 6) @ WEIGHT.T + (0 if bias is None else bias)
    build = {"input_channels": 6, "output_channels": 4, "has_bias": bias is not None}
    check_layers(
        lambda b: b.add_inner_product("f", WEIGHT, bias, **build, input_name="x", output_name="y"),
        [x],
        want.reshape(result),
    )


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [
        ((3, 4), (4, 5), {}),
        ((2, 1, 3, 4), (6, 4, 5), {}),
        ((2, 4, 3), (2, 4, 5), {"transpose_a": True}),
        ((2, 3, 4), (5, 4), {"transpose_b": True}),
    ],
)
def test_matrix_product(check_layers, a, b, options):
    x, y = normal(*a), normal(*b)
    left = np.swapaxes(x, -1, -2) if "transpose_a" in options else x
    right = np.swapaxes(y, -1, -2) if "transpose_b" in options else y
    check_layers(
        lambda builder: builder.add_batched_mat_mul("m", ["x", "x1"], "y", **options), [x, y], left @ right
    )


def test_vectors_become_matrices(check_layers):
    x, y = normal(4), normal(4)
    check_layers(
        lambda b: b.add_batched_mat_mul("m", ["x", "x1"], "y"), [x, y], np.array([[x @ y]], np.float32)
    )


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (2, 1, 3, 6)])
@pytest.mark.parametrize("bias", [None, BIAS])
def test_product_with_a_stored_matrix(check_layers, shape, bias):
    x = normal(*shape)
    want = x @ WEIGHT.T + (0 if bias is None else bias)
    sizes = {"weight_matrix_rows": 6, "weight_matrix_columns": 4}
    check_layers(
        lambda b: b.add_batched_mat_mul(
            "m", ["x"], "y", W=np.ascontiguousarray(WEIGHT.T), bias=bias, **sizes
        ),
        [x],
        want,
    )


@pytest.mark.parametrize("bias", [None, BIAS])
def test_embedding(check_layers, bias):
    indices = np.array([[5, 0, 2]], np.float32)
    want = WEIGHT.T[indices.astype(int)] + (0 if bias is None else bias)
    check_layers(lambda b: b.add_embedding_nd("e", "x", "y", 6, 4, WEIGHT, bias), [indices[..., None]], want)
    check_layers(
        lambda b: b.add_embedding("e", WEIGHT, bias, 6, 4, bias is not None, "x", "y"),
        [indices.reshape(3, 1, 1, 1)],
        want.reshape(3, 4, 1, 1),
    )


def test_index_outside_of_the_table_is_refused(run_layers):
    with pytest.raises(UnsupportedError, match="an index lies outside of 0 to 5"):
        run_layers(
            lambda b: b.add_embedding_nd("e", "x", "y", 6, 4, WEIGHT), [np.full((1, 1), 6, np.float32)]
        )


def test_quantization_at_run_time_is_refused(run_layers):
    def build(b):
        b.add_inner_product(
            "f", WEIGHT.astype(np.int8).tobytes(), None, 6, 4, False, "x", "y", int_8_dynamic_quantize=True,
            is_quantized_weight=True, quant_scale=np.array([0.5]),
        )  # fmt: skip

    with pytest.raises(UnsupportedError, match="innerProduct 'f': int8DynamicQuantize"):
        run_layers(build, [normal(1, 6)])
