"""Scales of weights found by squared error, and what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolchain.converters.quantize.weight_ranges import search_weight_ranges
from toolchain.converters.quantize.weighted_layers import weighted_layers


def sqnr(wanted, found):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum())


def layer_error(layer):
    return np.square(layer.weights - layer.float_weights).sum()


LAYERS = {
    "conv": ("(float[2,4,6,6] x) => (float[2,5,6,6] y) { y = Conv(x, w, b) }", (5, 4, 1, 1), 5),
    "depthwise": ("(float[2,4,6,6] x) => (float[2,8,4,4] y) { y = Conv<group=4>(x, w, b) }", (8, 1, 3, 3), 8),
    "transposed": ("(float[2,4,6,6] x) => (float[2,5,12,12] y)"
                   " { y = ConvTranspose<strides=[2,2]>(x, w, b) }", (4, 5, 2, 2), 5),
    "gemm": ("(float[2,4] x) => (float[2,5] y) { y = Gemm(x, w, b) }", (4, 5), 5),
    "turned gemm": ("(float[2,4] x) => (float[2,5] y) { y = Gemm<transB=1>(x, w, b) }", (5, 4), 5),
    "matmul": ("(float[2,3,4] x) => (float[2,3,5] y) { y = MatMul(x, w) }", (4, 5), 0),
}  # fmt: skip


@pytest.mark.parametrize(("text", "shape", "bias"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_never_worse_and_bias_kept(kit, text, shape, bias, weighted):
    random = np.random.default_rng(0)
    constants = {"w": (random.standard_t(3, shape)).astype(np.float32)}
    if bias:
        constants["b"] = random.standard_normal(bias).astype(np.float32)
    model = kit.graph(text, **constants)
    made = kit.quantized(model)
    (layer,) = weighted_layers(made, model)
    before, offset = layer_error(layer), layer.bias
    search_weight_ranges(made, model, kit.random_feeds(model) if weighted else None)
    if not weighted:
        assert layer_error(layer) <= before
    assert np.abs(layer.bias - offset).max() <= 1e-4
    assert np.abs(layer.stored.astype(int)).max() <= 127
    feeds = kit.random_feeds(model)[0]
    assert sqnr(kit.run(model, feeds)["y"], kit.run(made, feeds)["y"]) > 25


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), outlier=st.floats(1, 50))
def test_scale_is_the_best_of_an_exhaustive_search(kit, seed, outlier):
    random = np.random.default_rng(seed)
    weights = random.standard_normal((1, 64, 1, 1)).astype(np.float32)
    weights[0, 0] = outlier
    model = kit.graph("(float[1,64,1,1] x) => (float[1,1,1,1] y) { y = Conv(x, w) }", w=weights)
    made = kit.quantized(model)
    search_weight_ranges(made, model)
    (layer,) = weighted_layers(made, model)
    full = np.abs(weights).max() / 127
    scales = np.linspace(0.4, 1, 61) * full
    errors = [np.square(np.clip(np.rint(weights / s), -127, 127) * s - weights).sum() for s in scales]
    assert layer_error(layer) <= (1 + 1e-4) * min(errors)
    assert layer_error(layer) <= errors[-1] * (1 + 1e-5)


def test_large_weights_of_silent_inputs_need_it(kit):
    """The largest weight of each channel reads an input that is nearly zero: the range is better cut."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((8, 16, 1, 1)).astype(np.float32)
    weights[:, 0] = 6.0
    model = kit.graph("(float[4,16,8,8] x) => (float[4,8,8,8] y) { y = Conv(x, w) }", w=weights)
    feeds = kit.random_feeds(model, 5)
    for each in feeds:
        each["x"][:, 0] *= 1e-3
    wanted = kit.run(model, feeds[4])["y"]

    def of_weights(made):
        (layer,) = weighted_layers(made, model)
        found = np.einsum("nchw,oc->nohw", feeds[4]["x"], layer.weights[:, :, 0, 0])
        return sqnr(wanted, found)

    made = kit.quantized(model, feeds[:4])
    before = of_weights(made)
    search_weight_ranges(made, model, feeds[:4])
    assert of_weights(made) > before + 4
