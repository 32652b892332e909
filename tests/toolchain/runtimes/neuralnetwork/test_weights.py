"""Decoding of stored weights: every width of quantization, against an unpacking bit by bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UnsupportedError
from toolchain.runtimes.coreml_proto import coreml_proto
from toolchain.runtimes.neuralnetwork.weights import decoded, unpacked

RNG = np.random.default_rng(10)


def message(**fields):
    return coreml_proto("NeuralNetwork").WeightParams(**fields)


def quantized(codes, bits, scale=None, bias=None, table=None, **fields):
    """Codes packed as a stream of bits, the highest bit of each code first."""
    stream = "".join(f"{code:0{bits}b}" for code in codes)
    stream += "0" * (-len(stream) % 8)
    raw = bytes(int(stream[place : place + 8], 2) for place in range(0, len(stream), 8))
    weights = message(**({"rawValue": raw} | fields))
    weights.quantization.numberOfBits = bits
    if table is None:
        weights.quantization.linearQuantization.scale.extend(scale)
        weights.quantization.linearQuantization.bias.extend(bias)
    else:
        weights.quantization.lookupTableQuantization.floatValue.extend(table)
    return weights


def test_float32_and_float16():
    values = RNG.standard_normal((2, 3)).astype(np.float16)
    np.testing.assert_array_equal(decoded(message(floatValue=values.ravel().tolist()), (2, 3)), values)
    np.testing.assert_array_equal(decoded(message(float16Value=values.tobytes()), (2, 3)), values)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("axis", [0, 1])
def test_linear_quantization(bits, axis):
    codes = RNG.integers(0, 1 << bits, 35)
    shape = (5, 7)
    scale, bias = (RNG.standard_normal(shape[axis]).astype(np.float32) for _ in range(2))
    spread = (-1, 1) if axis == 0 else (1, -1)
    want = codes.reshape(shape) * scale.reshape(spread) + bias.reshape(spread)
    np.testing.assert_allclose(decoded(quantized(codes, bits, scale, bias), shape, axis), want, rtol=1e-6)
    want = codes.reshape(shape) * scale[0] + bias[0]
    one = quantized(codes, bits, scale[:1], bias[:1])
    np.testing.assert_allclose(decoded(one, shape, axis), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bits", range(1, 9))
def test_look_up_table(bits):
    codes, table = RNG.integers(0, 1 << bits, 11), RNG.standard_normal(1 << bits).astype(np.float32)
    np.testing.assert_array_equal(decoded(quantized(codes, bits, table=table), (11,)), table[codes])


def test_signed_bytes():
    values = np.array([-128, -1, 0, 127], np.int8)
    weights = quantized([], 8, [0.5], [], rawValue=b"", int8RawValue=values.tobytes())
    np.testing.assert_array_equal(decoded(weights, (2, 2)), values.reshape(2, 2) * 0.5)


@given(st.integers(1, 8), st.lists(st.integers(0, 255), max_size=40))
def test_unpacked_is_the_inverse_of_packing(bits, values):
    codes = [value & ((1 << bits) - 1) for value in values]
    raw = quantized(codes, bits, [1.0], [0.0]).rawValue
    assert len(raw) == math.ceil(len(codes) * bits / 8)
    assert unpacked(raw, bits, len(codes)).tolist() == codes


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (message(), "stored in one form, not in none"),
        (message(floatValue=[1.0], float16Value=b"00"), "not in floatValue, float16Value"),
        (message(floatValue=[1.0]), "1 weights are stored"),
        (message(float16Value=b"000"), "odd number of bytes"),
        (message(rawValue=b"0000"), "weights of 0 bits are not known"),
        (quantized([1, 2, 3, 4], 8, [1.0, 2.0], [0.0]), "2 scales do not fit"),
        (quantized([1, 2, 3, 4], 8, [1.0], []), "0 biases do not fit"),
        (quantized([1, 2, 3, 4], 4, table=[1.0]), "the look-up table has 1 values, 4 bits need 16"),
        (quantized([1, 2, 3], 8, [1.0], [0.0]), "4 weights of 8 bits do not fit 3 bytes"),
        (quantized([], 4, [1.0], [], rawValue=b"", int8RawValue=b"0000"), "int8RawValue needs 8 bits"),
    ],
)
def test_refusals(weights, reason):
    with pytest.raises(UnsupportedError, match=reason):
        decoded(weights, (4,))
